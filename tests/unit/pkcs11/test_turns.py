"""Turns at a store without a module."""

import fcntl
import os
from pathlib import Path

import pytest

from cardd_pkcs11.turns import StoreTurns


def _is_free(directory: Path, *, to_write: bool) -> bool:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if to_write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_readers_let_readers_in_and_writers_nobody(tmp_path: Path) -> None:
    turns = StoreTurns(tmp_path)
    with turns.reading():
        assert _is_free(tmp_path, to_write=False)
        assert not _is_free(tmp_path, to_write=True)
    with turns.writing():
        assert not _is_free(tmp_path, to_write=False)
    assert _is_free(tmp_path, to_write=True)


def test_a_turn_within_a_turn_is_the_same_turn(tmp_path: Path) -> None:
    turns = StoreTurns(tmp_path)
    with turns.writing():
        with turns.reading():
            assert not _is_free(tmp_path, to_write=False)
        assert not _is_free(tmp_path, to_write=False)


def test_a_turn_that_fails_ends(tmp_path: Path) -> None:
    turns = StoreTurns(tmp_path)
    with pytest.raises(ValueError, match="of the caller"), turns.writing():
        raise ValueError("of the caller")
    assert _is_free(tmp_path, to_write=True)


@pytest.mark.parametrize("directory", [None, Path("/nowhere/at/all")])
def test_where_there_is_no_directory_nobody_waits(directory: Path | None) -> None:
    turns = StoreTurns(directory)
    with turns.writing(), turns.reading():
        pass
