"""Compares README.md and docs/ with the program: commands, options and local links exist; set-up comes first."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from cardd.cli.root import root

TOP = Path(__file__).resolve().parent.parent
#: What a newcomer types first, in this order.
FIRST_COMMANDS = ("make run", "make test")

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(cardd [^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(?P<title>.+)$", re.MULTILINE)
_SHELL = frozenset({"bash", "sh", "console"})
_COMMAND_ENDS = frozenset({"|", "||", "&&", ";", "&", ")", "<", ">", "<<<", ">>", "<<"})


class Finding(NamedTuple):
    """Something in a page that does not hold."""

    page: Path
    sentence: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(TOP)}: {self.sentence}"


def pages() -> list[Path]:
    """Return the pages that are checked."""
    return [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]


def findings() -> Iterator[Finding]:
    """Check every page."""
    yield from _first_commands(TOP / "README.md")
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for words in _commands(text):
            for sentence in check_command(words):
                yield Finding(page, sentence)
        for sentence in _links(page, text):
            yield Finding(page, sentence)


def check_command(words: list[str]) -> Iterator[str]:
    """Check one call of `cardd` word by word; the values of options and arguments are free."""
    shown = shlex.join(words)
    command: click.Command = root
    context = click.Context(root, info_name="cardd")
    known = _options(root)
    takes_value = False
    for word in words[1:]:
        if takes_value:
            takes_value = False
        elif word.startswith("--"):
            name, equals, _ = word.partition("=")
            if name not in known:
                yield f"`{shown}`: `{context.command_path}` has no option {name}"
                return
            takes_value = not known[name] and not equals
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                yield f"`{shown}`: there is no command {context.command_path} {word}"
                return
            command, context = found, click.Context(found, info_name=word, parent=context)
            known |= _options(command)


def _options(command: click.Command) -> dict[str, bool]:
    """Return each option's name and whether it is a flag."""
    return {
        name: parameter.is_flag
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    } | {"--help": True}


def _commands(text: str) -> Iterator[list[str]]:
    for block in _FENCE.finditer(text):
        if block["language"] in _SHELL:
            yield from _calls(block["body"].replace("\\\n", " "))
    for inline in _INLINE.finditer(_FENCE.sub("", text)):
        yield from _calls(inline[1])


def _calls(script: str) -> Iterator[list[str]]:
    """Find each call of `cardd` in a shell script, up to the end of its simple command."""
    for start in re.finditer(r"(?<![\w./-])cardd (?=[a-z-])", script):
        line = script[start.start() :].partition("\n")[0]
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            for word in lexer:
                if word in _COMMAND_ENDS or set(word) <= set("();<>|&"):
                    break
                words.append(word)
        except ValueError:  # a quotation that ends further down
            pass
        yield [word for word in words if word not in ("…", "...")]


def _links(page: Path, text: str) -> Iterator[str]:
    for link in _LINK.finditer(_FENCE.sub("", text)):
        target = link["target"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"the link to {target} leads nowhere"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file):
            yield f"{target}: there is no such heading"


def _anchors(page: Path) -> set[str]:
    titles = (
        heading["title"] for heading in _HEADING.finditer(_FENCE.sub("", page.read_text(encoding="utf-8")))
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _first_commands(readme: Path) -> Iterator[Finding]:
    blocks = (block["body"] for block in _FENCE.finditer(readme.read_text(encoding="utf-8")))
    lines = [line.partition("#")[0].strip() for line in next(blocks, "").splitlines()]
    if tuple(line for line in lines if line) != FIRST_COMMANDS:
        yield Finding(readme, f"the first block is not {' and '.join(FIRST_COMMANDS)}")


def main() -> int:
    """Print what does not hold."""
    found = list(findings())
    for finding in found:
        print(finding, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
