"""One program at a time works on a state directory."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cardd.errors import ConflictError, UnavailableError
from cardd.text import Text


class StateInUseError(ConflictError):
    """Another daemon works on this state."""

    code = "state_in_use"
    title = Text("This state is in use", "Cet état est en cours d’utilisation")
    default_advice = Text(
        "Stop the other daemon, or choose another state directory.",
        "Arrêtez l’autre démon, ou choisissez un autre répertoire d’état.",
    )


class StateNotWritableError(UnavailableError):
    """The state directory cannot be used."""

    code = "state_not_writable"
    title = Text("The state directory cannot be written", "Le répertoire d’état n’est pas inscriptible")
    default_advice = Text(
        "Check the rights of the directory, and that its disk is neither full nor read-only.",
        "Vérifiez les droits du répertoire, et que son disque n’est ni plein ni en lecture seule.",
    )


@contextmanager
def state_of_ours(state: Path) -> Iterator[None]:
    """Make the directory where there is none, and hold it for this process; the lock goes with it, however it ends.

    Raises:
        StateNotWritableError, StateInUseError: it cannot be used, or another daemon does.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        lock = (state / "lock").open("w")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StateNotWritableError(Text(f"{state}: {reason}.", f"{state} : {reason}.")) from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateInUseError(
                Text(f"A daemon already works on {state}.", f"Un démon travaille déjà sur {state}.")
            ) from None
        yield
