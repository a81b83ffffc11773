"""The data objects of application "CPS" on a test card: their names, their contents, and how they are read.

The bytes on real cards are not published. Test cards on software tokens hold UTF-8 lines `name=value`, virtual
cards hold UTF-8 strings one after the other under the tags 80, 81, 82 … (ISO/IEC 8825-1). The parser takes
whatever it finds: what it does not know is passed over, and what is missing is None.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from cardd.cards.identity import ISSUER_IDENTIFICATION
from cardd.cards.types import CardActivity, CardDataView, CardIdentity, CardSerial, CardType, Holder
from cardd.orders.subjects import Structure

#: CKA_APPLICATION of every data object of the family.
APPLICATION: Final = "CPS"

MODIFIABLE: Final = "CPS_DATA"
IDENTITY: Final = "CPS_ID_CARD"
NAME: Final = "CPS_NAME_PS"
LANGUAGES: Final = "CPS_LANG_PS"
INFORMATION: Final = "CPS_INFO_PS"
BILLING: Final = "CPS_SIT_FACT"

#: Activities are numbered 01 to 16, with gaps, as on real cards.
_ACTIVITY = re.compile(r"CPS_ACTIVITY_(0[1-9]|1[0-6])_PS\Z")
_ACTIVITY_NUMBERS: Final = (1, 3)
_FIRST_TAG: Final = 0x80
#: What the tagged strings of each data object are, in their order.
_STRINGS: Final = {
    IDENTITY: ("issuer", "serial", "type"),
    NAME: ("last_name", "first_name"),
    INFORMATION: ("identifier", "profession"),
    BILLING: ("situation",),
}
_ACTIVITY_STRINGS: Final = ("structure", "name", "state")


class DataObject(msgspec.Struct, frozen=True):
    """One data object; a private one is visible after login only."""

    label: str
    value: bytes
    private: bool


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card says in its data objects."""

    serial: CardSerial
    type: CardType
    holder: Holder
    structure: Structure
    issued_at: datetime
    opposes_at: datetime


def activity_label(number: int) -> str:
    """Return the label of an activity, from `CPS_ACTIVITY_01_PS` on."""
    return f"CPS_ACTIVITY_{number:02d}_PS"


def make_objects(facts: CardFacts) -> tuple[DataObject, ...]:
    """Return the data objects of a new card."""
    holder, structure = facts.holder, facts.structure
    return (
        DataObject(MODIFIABLE, b"", private=False),
        DataObject(IDENTITY, _written(_identity(facts)), private=False),
        DataObject(
            NAME,
            _written({
                "identifier": holder.identifier,
                "last_name": holder.last_name,
                "first_name": holder.first_name,
                "title": holder.title or "",
            }),
            private=False,
        ),
        DataObject(LANGUAGES, _written({"languages": "fr"}), private=False),
        DataObject(INFORMATION, _written({"profession": str(holder.profession or "")}), private=False),
        *(_activity(number, structure) for number in _ACTIVITY_NUMBERS),
        DataObject(BILLING, _written({"structure": structure.id, "situation": "test"}), private=True),
    )  # fmt: skip


def is_ours(label: str) -> bool:
    """Tell whether a data object of application "CPS" is one that `read_objects` knows."""
    return label in _READ or _ACTIVITY.match(label) is not None


def read_objects(serial: CardSerial, objects: Mapping[str, bytes], *, complete: bool) -> CardDataView:
    """Return what a card's data objects say; `complete` tells whether private ones could be seen."""
    identity, name = _read(objects, IDENTITY), _read(objects, NAME)
    information = _read(objects, INFORMATION)
    return CardDataView(
        serial=serial,
        complete=complete,
        objects=tuple(sorted(objects)),
        identity=CardIdentity(
            issuer=identity.get("issuer"),
            serial=identity.get("serial"),
            type=identity.get("type"),
            issued_at=identity.get("issued_at"),
            opposes_at=identity.get("opposes_at"),
        ),
        identifier=name.get("identifier") or information.get("identifier"),
        last_name=name.get("last_name"),
        first_name=name.get("first_name"),
        title=name.get("title"),
        languages=tuple(_read(objects, LANGUAGES).get("languages", "").split()),
        profession=_number(information.get("profession")),
        activities=tuple(_activities(objects)),
        billing=_read(objects, BILLING) or None,
    )


def _identity(facts: CardFacts) -> dict[str, str]:
    return {
        "issuer": ISSUER_IDENTIFICATION,
        "serial": facts.serial,
        "type": facts.type.value,
        "issued_at": facts.issued_at.date().isoformat(),
        "opposes_at": facts.opposes_at.date().isoformat(),
    }


def _activity(number: int, structure: Structure) -> DataObject:
    content = {"structure": structure.id, "name": structure.name, "state": structure.state}
    return DataObject(activity_label(number), _written(content), private=True)


def _activities(objects: Mapping[str, bytes]) -> Iterable[CardActivity]:
    for label in sorted(objects):
        if found := _ACTIVITY.match(label):
            values = _read(objects, label)
            yield CardActivity(
                number=int(found[1]),
                structure=values.get("structure"),
                name=values.get("name"),
                state=values.get("state"),
            )


def _written(values: Mapping[str, str]) -> bytes:
    return "".join(f"{name}={_one_line(value)}\n" for name, value in values.items()).encode()


def _one_line(value: str) -> str:
    return " ".join(value.splitlines())


def _read(objects: Mapping[str, bytes], label: str) -> dict[str, str]:
    content = objects.get(label, b"")
    strings = _tagged_strings(content)
    if strings is not None:
        return _named(label, strings)
    text = content.decode("utf-8", errors="replace")
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, separator, value in pairs if separator and value}


def _tagged_strings(content: bytes) -> list[str] | None:
    """Return the strings under the tags 80, 81 … in their order, None where the content is of another form."""
    strings: list[str] = []
    position = 0
    while position + 2 <= len(content):
        tag, length = content[position], content[position + 1]
        if tag != _FIRST_TAG + len(strings):
            return None
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[position : position + size], "big")
            position += size
        value = content[position : position + length]
        if len(value) != length:
            return None
        strings.append(value.decode("utf-8", errors="replace"))
        position += length
    return strings if strings and position == len(content) else None


def _named(label: str, strings: list[str]) -> dict[str, str]:
    """Give the strings of a data object their names."""
    if label == LANGUAGES:
        return {"languages": " ".join(strings)}
    names = _ACTIVITY_STRINGS if _ACTIVITY.match(label) else _STRINGS.get(label, ())
    return {name: value for name, value in zip(names, strings, strict=False) if value}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


_READ = frozenset({MODIFIABLE, IDENTITY, NAME, LANGUAGES, INFORMATION, BILLING})
