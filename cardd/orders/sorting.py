"""The orders in which lists are shown, each backed by an index of `cardd.store.tables`."""

from enum import StrEnum, unique
from typing import Any, NamedTuple

import sqlalchemy as sa

from cardd.store.tables import certificates, orders


@unique
class OrderSort(StrEnum):
    """How a list of orders is sorted."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    NAME_DESCENDING = "name_descending"


@unique
class CertificateSort(StrEnum):
    """How a list of certificates is sorted: by issuance, by name, or by the end of validity."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    NAME_DESCENDING = "name_descending"
    EXPIRY = "expiry"
    EXPIRY_DESCENDING = "expiry_descending"


class Sorting(NamedTuple):
    """What rows are sorted by; rows with the same key follow one another by their identifier."""

    key: sa.Column[Any]
    identifier: sa.Column[str]
    descending: bool

    @property
    def by_age(self) -> bool:
        """Whether rows are sorted as they came."""
        return self.key is orders.c.created_at or self.key is certificates.c.issued_at

    @property
    def by(self) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        """Return the columns to sort by."""
        columns = (self.key, self.identifier)
        return (columns[0].desc(), columns[1].desc()) if self.descending else columns


def order_sorting(sort: OrderSort) -> Sorting:
    """Return what a list of orders is sorted by."""
    key: sa.Column[Any] = orders.c.created_at
    if sort in (OrderSort.NAME, OrderSort.NAME_DESCENDING):
        key = orders.c.label
    return Sorting(key, orders.c.id, sort in (OrderSort.NEWEST, OrderSort.NAME_DESCENDING))


def certificate_sorting(sort: CertificateSort) -> Sorting:
    """Return what a list of certificates is sorted by."""
    descending = (
        CertificateSort.NEWEST, CertificateSort.NAME_DESCENDING, CertificateSort.EXPIRY_DESCENDING,
    )  # fmt: skip
    key: sa.Column[Any]
    match sort:
        case CertificateSort.NEWEST | CertificateSort.OLDEST:
            key = certificates.c.issued_at
        case CertificateSort.NAME | CertificateSort.NAME_DESCENDING:
            key = certificates.c.common_name
        case CertificateSort.EXPIRY | CertificateSort.EXPIRY_DESCENDING:
            key = certificates.c.not_after
    return Sorting(key, certificates.c.serial, sort in descending)
