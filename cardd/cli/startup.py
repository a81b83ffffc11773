"""What `init` and `run` share: an option, the event loop, and the daemon's progress shown on standard error."""

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from cardd.cli.language import terminal_language
from cardd.progress import Progress, ProgressStep

run_loop: Callable[[Coroutine[Any, Any, Any]], Any]
try:
    from uvloop import run as run_loop
except ImportError:  # not made for Windows
    from asyncio import run as run_loop

T = TypeVar("T")

token_module_option = click.option(
    "--token-module",
    type=click.Choice(["softhsm2", "tpm2"]),
    help="Where the keys of the structures' certificates are: SoftHSM, or this machine's TPM; kept for later starts.",
)


def chosen_module(name: str | None) -> dict[str, Any]:
    """Return the setting that `--token-module` stands for, as `Options.settings` takes it."""
    return {"tokens.module": name}


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on uvloop where there is one, otherwise on the standard loop."""
    result: T = run_loop(work)
    return result


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Show progress as a bar on a terminal, as plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield _print_step
        return
    language = terminal_language()
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    # The daemon's log is written beside the bar, not through it.
    console = Console(stderr=True)
    with Bar(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("", total=None)

        def show(step: ProgressStep) -> None:
            bar.update(
                task, completed=step.done, total=step.total, description=step.text.in_language(language)
            )
            if step.done >= step.total:
                bar.stop()

        yield show


def _print_step(step: ProgressStep) -> None:
    click.echo(f"[{step.done}/{step.total}] {step.text.in_language(terminal_language())}", err=True)
