"""How far a long piece of work is: what the daemon reports while it starts, and the command line shows."""

from collections.abc import Callable

import msgspec

from cardd.text import Text


class ProgressStep(msgspec.Struct, frozen=True):
    """`done` of `total` steps are finished; `text` names the one that begins (or, at the end, the result)."""

    done: int
    total: int
    text: Text


#: Called from the event loop at each step; must return at once.
Progress = Callable[[ProgressStep], None]


def no_progress(_step: ProgressStep) -> None:
    """Show nothing."""
