"""The one place where an error becomes what a person reads on standard error."""

from cardd.cli.language import say, terminal_language
from cardd.cli.output import cell, printable
from cardd.client import ProblemError
from cardd.errors import CarddError, InvalidFieldsError

#: Members of a problem document that are shown in words already.
_SPOKEN = frozenset({"type", "title", "status", "detail", "advice", "fields", "instance"})


def failure_lines(error: CarddError) -> list[str]:
    """Return `error: … — advice`, then a line for each field and for each other datum."""
    language = terminal_language()
    first = error_line(error.detail.in_language(language), error.advice.in_language(language))
    return [first, *map(_on_one_line, _details(error))]


def error_line(sentence: str, advice: str) -> str:
    """Return the one line that says what happened and what to do about it."""
    return _on_one_line(f"{say('error:', 'erreur :')} {sentence}" + (f" — {advice}" if advice else ""))


def _on_one_line(text: str) -> str:
    return printable(" ".join(text.splitlines()))


def _details(error: CarddError) -> list[str]:
    if isinstance(error, InvalidFieldsError):
        language = terminal_language()
        return [f"  {field.field}: {field.problem.in_language(language)}" for field in error.fields]
    if isinstance(error, ProblemError):
        fields = [f"  {each.get('field', '?')}: {each.get('problem', '')}" for each in error.problem.fields]
        data = [f"  {name}: {cell(value)}" for name, value in error.document.items() if name not in _SPOKEN]
        return fields + data
    return []
