"""What a request was sent for: once it is being committed, nothing that happens to its caller takes it back."""

from contextvars import ContextVar


class Effect:
    """Whether the transaction that does what was asked for has come to its commit."""

    def __init__(self) -> None:
        self.stands = False


#: Set where somebody may want to cut work short and must know what it has done.
current_effect: ContextVar[Effect | None] = ContextVar("current_effect", default=None)
