"""Names and handles of PC/SC."""

from typing import NewType

ReaderName = NewType("ReaderName", str)
Context = NewType("Context", int)
"""A handle of SCardEstablishContext."""
