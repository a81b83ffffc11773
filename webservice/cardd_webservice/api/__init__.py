"""The API: one file a subject, each a list of declared operations."""

from typing import Any

from cardd_webservice.api import (
    applications,
    audit,
    cards,
    certificates,
    consents,
    crls,
    events,
    habilitations,
    health,
    ihm,
    keys,
    offers,
    orders,
    owner,
    pairings,
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
    *pairings.OPERATIONS,
    *applications.OPERATIONS,
    *consents.OPERATIONS,
    *owner.OPERATIONS,
    *events.OPERATIONS,
    *audit.OPERATIONS,
    *health.OPERATIONS,
    *ihm.OPERATIONS,
)
