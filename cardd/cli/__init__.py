"""The command line: one file a command; a client of the API, except `init` and `run`."""

from cardd.cli.root import main

__all__ = ["main"]
