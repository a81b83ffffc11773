"""The API: one file a subject, each a list of declared operations."""

from typing import Any

from cardd_webservice.api import (
    audit,
    backups,
    cards,
    certificates,
    crls,
    events,
    habilitations,
    health,
    ihm,
    keys,
    offers,
    orders,
    pki,
    readers,
    status,
    tokens,
    validation,
)
from cardd_webservice.operations import Operation

OPERATIONS: tuple[Operation[Any], ...] = (
    *readers.OPERATIONS,
    *cards.OPERATIONS,
    *habilitations.OPERATIONS,
    *offers.OPERATIONS,
    *orders.OPERATIONS,
    *certificates.OPERATIONS,
    *pki.OPERATIONS,
    *crls.OPERATIONS,
    *status.OPERATIONS,
    *validation.OPERATIONS,
    *tokens.OPERATIONS,
    *keys.OPERATIONS,
    *events.OPERATIONS,
    *audit.OPERATIONS,
    *backups.OPERATIONS,
    *health.OPERATIONS,
    *ihm.OPERATIONS,
)
