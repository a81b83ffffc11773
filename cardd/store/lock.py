"""One program at a time works on a state directory."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cardd.errors import ConflictError
from cardd.text import Text


class StateInUseError(ConflictError):
    """Another daemon works on this state."""

    code = "state_in_use"
    title = Text("This state is in use", "Cet état est en cours d’utilisation")
    default_advice = Text(
        "Stop the other daemon, or choose another state directory.",
        "Arrêtez l’autre démon, ou choisissez un autre répertoire d’état.",
    )


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the state for this process; the lock goes with the process, however it ends."""
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateInUseError(
                Text(f"A daemon already works on {state}.", f"Un démon travaille déjà sur {state}.")
            ) from None
        yield
