"""From what a form carries to a request of the rooms, by the same rules as the API."""

from typing import Any, TypeVar

import msgspec

from cardd_webservice.validation import invalid_fields

T = TypeVar("T", bound=msgspec.Struct)


def request_of(kind: type[T], **values: Any) -> T:
    """Return the values as a `kind`; those that are `None` are left out. Raises `InvalidFieldsError`."""
    try:
        return msgspec.convert({name: value for name, value in values.items() if value is not None}, kind)
    except msgspec.ValidationError as error:
        raise invalid_fields(error, kind) from None
