"""The root command: cheap help, exit codes, and never a traceback."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from cardd.cli.root import COMMANDS, root
from tests.support.fake_daemon import FakeDaemon, Scripted, problem
from tests.unit.cli.conftest import Cardd

#: Costly to import, and not needed to say what there is.
HEAVY = ("cryptography", "sqlalchemy", "aiohttp", "asyncio", "rich.console", "pkcs11")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom cardd.cli.root import run_command\ncode = run_command(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert all(name in done.stdout for name in COMMANDS)


def test_commands_of_the_api_import_neither_server_nor_database() -> None:
    program = (
        "import sys\nfrom cardd.cli.root import root, COMMANDS\nimport click\n"
        "[root.get_command(click.Context(root), name) for name in COMMANDS]\n"
        "print([name for name in ('cryptography', 'sqlalchemy', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _all_commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    found: list[tuple[tuple[str, ...], click.Command]] = [(path, command)]
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found += _all_commands(below, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"),
    _all_commands(root),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_command_has_help_and_the_shared_options(path: tuple[str, ...], command: click.Command) -> None:
    options = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--state-dir", "--address", "--token-file"} <= options
    assert command.get_short_help_str()
    assert not any(name in options for name in ("--pin", "--code", "--revocation-code", "--password"))


@pytest.mark.parametrize(
    ("status", "code"), [(404, 1), (409, 1), (422, 1), (401, 5), (403, 5), (423, 5), (500, 4), (503, 4)]
)
def test_the_exit_code_tells_who_is_to_act(fake: FakeDaemon, cardd: Cardd, status: int, code: int) -> None:
    fake.on("GET", "/readers", problem(status, "some_code", "No."))
    assert cardd("readers").code == code


def test_a_daemon_that_does_not_run_is_exit_code_3(cardd: Cardd, state: Path) -> None:
    (state / "address").unlink()
    done = cardd("readers")
    assert done.code == 3
    assert "cardd run" in done.err


def test_a_port_that_nobody_listens_on_is_exit_code_3(cardd: Cardd, state: Path) -> None:
    (state / "address").write_text("http://127.0.0.1:1")
    assert cardd("readers").code == 3


def test_an_unreadable_token_is_exit_code_5(cardd: Cardd, state: Path) -> None:
    (state / "token").unlink()
    done = cardd("readers")
    assert done.code == 5
    assert "--token-file" in done.err


def test_the_token_is_not_sent_to_another_machine(cardd: Cardd) -> None:
    done = cardd("readers", "--address", "http://192.0.2.1:8980")
    assert done.code == 2
    assert "192.0.2.1" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("readers", "--nothing"),
        ("order", "new"),
        ("revoke",),
        ("order", "list", "--limit", "0"),
    ],
)
def test_what_is_not_understood_is_exit_code_2_and_one_line(cardd: Cardd, arguments: tuple[str, ...]) -> None:
    done = cardd(*arguments)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("error: ")


def test_invalid_settings_are_exit_code_2(cardd: Cardd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDD_HTTP_PORT", "many")
    done = cardd("readers")
    assert done.code == 2
    assert "CARDD_HTTP_PORT" in done.err


def test_an_answer_that_is_not_the_daemons_is_told_as_such(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/readers", Scripted(200, b"<html>", "text/html"))
    assert cardd("readers").code == 4
    fake.on("GET", "/readers", Scripted(502, b"<html>", "text/html"))
    done = cardd("readers")
    assert done.code == 4
    assert "502" in done.err


def test_an_unexpected_failure_is_one_line_without_a_traceback(
    cardd: Cardd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object) -> None:
        raise RuntimeError("secret 1234")

    monkeypatch.setattr("cardd.cli.options.Options.client", fail)
    done = cardd("readers")
    assert done.code == 4
    assert len(done.err.splitlines()) == 1
    assert "1234" not in done.err
    assert "Traceback" not in done.err


def test_options_stand_before_or_after_the_command(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/readers", Scripted(200, []))
    assert cardd("--json", "readers").out == cardd("readers", "--json").out == "[]\n"
