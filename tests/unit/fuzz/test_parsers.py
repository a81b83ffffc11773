"""Arbitrary and damaged bytes for everything that reads what a card says: only documented exceptions leave."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzzing import TARGETS, seeds

ROOT = Path(__file__).parents[3]
_ATHERIS_RUNS = 100_000


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """Draw bytes that make sense to a target, with some of them changed, lost or added."""
    data = bytearray(draw(st.sampled_from(seeds(name))))
    for _ in range(draw(st.integers(0, 6))):
        position = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["change", "lose", "add", "cut"])):
            case "change" if data:
                data[position] = draw(st.integers(0, 255))
            case "lose":
                del data[position : position + draw(st.integers(1, 8))]
            case "add":
                data[position:position] = draw(st.binary(max_size=8))
            case _:
                del data[position:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_bring_out_another_exception_than_the_documented_ones(name: str) -> None:
    @settings(max_examples=500)
    @given(st.binary(max_size=400) | damaged(name))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


if importlib.util.find_spec("atheris") is not None:

    @pytest.mark.slow
    @pytest.mark.parametrize("name", TARGETS)
    def test_a_coverage_guided_fuzzer_finds_no_other_exception(name: str, tmp_path: Path) -> None:
        for number, seed in enumerate(seeds(name)):
            (tmp_path / str(number)).write_bytes(seed)
        code = (
            "import sys, atheris\n"
            "with atheris.instrument_imports(include=['cardd']):\n"
            "    from tests.support.fuzzing import TARGETS\n"
            f"atheris.Setup(sys.argv, TARGETS[{name!r}])\natheris.Fuzz()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, f"-runs={_ATHERIS_RUNS}", "-max_len=600", str(tmp_path)],
            cwd=ROOT,
            env={"PYTHONPATH": ":".join([str(ROOT), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == 0, done.stderr[-3000:]
