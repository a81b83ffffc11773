"""OCSP for the CAs whose lists are kept: a responder that clients trust by their own configuration.

RFC 6960 §4.2.2.2 lets a response be signed by who "matches a local configuration of OCSP signing authority for the
certificate in question". What it says is what the lists in force say, and never lasts longer than they do.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

import structlog
from cryptography import x509

from cardd.errors import UnavailableError
from cardd.igc.answerers import Answerer, Statement, Status, reason_flag
from cardd.igc.dates import whole_second
from cardd.igc.listresponder import ListResponder, list_responder
from cardd.igc.ocsp import OcspService
from cardd.igc.ocspwire import IssuerKey, issuer_keys
from cardd.igc.pki import Pki
from cardd.igc.signer import Signer
from cardd.revocation.names import spki_sha256
from cardd.revocation.statements import ListStatement
from cardd.revocation.types import SpkiHash
from cardd.settings import RevocationSettings, split
from cardd.text import Text

_log = structlog.get_logger(__name__)


class KeptLists(Protocol):
    """The lists kept, and what those in force say."""

    @property
    def revision(self) -> int:
        """A number that grows with each change."""
        ...

    def authorities(self) -> Sequence[x509.Certificate]:
        """Return the certificates of the CAs that the lists speak for."""
        ...

    def statement(self, issuer: SpkiHash, serial: int) -> ListStatement | None:
        """Say what is known of a serial; None where nothing can be said now."""
        ...


class ListNotInForceError(UnavailableError):
    """No list in force speaks of the certificates of this CA now."""

    code = "list_not_in_force"


class ListOcsp:
    """Switches OCSP for lists of others on and off, as the settings say."""

    def __init__(self, pki: Pki, lists: KeptLists) -> None:
        self._pki = pki
        self._lists = lists
        self._responder: ListResponder | None = None

    @property
    def certificate(self) -> x509.Certificate | None:
        """The responder's certificate, there while it answers."""
        return None if self._responder is None else self._responder.certificate

    async def take_settings(self, settings: RevocationSettings) -> None:
        """Answer for the CAs that the settings name from now on; raises `CarddError`.

        Where the CA keys are on other machines, those answer, as their settings say.
        """
        service = self._pki.ocsp
        if not isinstance(service, OcspService):
            if settings.ocsp != "off":
                _log.warning(
                    "ocsp.lists_of_others", why="the machines with the CA keys answer, by their settings"
                )
            return
        if settings.ocsp == "off":
            service.answer_for(None)
            self._responder = None
            return
        responder = await list_responder(self._pki)
        chosen = None if settings.ocsp == "all" else frozenset(split(settings.ocsp))
        validity = self._pki.policy.ocsp_validity
        service.answer_for(ListIssuers(self._lists, responder, chosen, validity))
        self._responder = responder


class ListIssuers:
    """The CAs that may be answered for, found by how an OCSP request names them."""

    def __init__(
        self,
        lists: KeptLists,
        responder: ListResponder,
        chosen: frozenset[str] | None,
        validity: timedelta,
    ) -> None:
        """`chosen` are the SHA-256 of the CAs' keys, None for all; `validity` is a response's longest."""
        self._lists = lists
        self._responder = responder
        self._chosen = chosen
        self._validity = validity
        self._named: dict[IssuerKey, ListIssuer] = {}
        self._revision = -1

    def answerer(self, issuer: IssuerKey) -> Answerer | None:
        """Return who answers for an issuer; None where it is not chosen, or no list of it is kept."""
        if self._revision != self._lists.revision:
            self._revision = self._lists.revision
            self._named = self._found()
        return self._named.get(issuer)

    def _found(self) -> dict[IssuerKey, "ListIssuer"]:
        issuers: dict[SpkiHash, ListIssuer] = {}
        named: dict[IssuerKey, ListIssuer] = {}
        for authority in self._lists.authorities():
            spki, keys = _names(authority)
            if self._chosen is None or spki in self._chosen:
                issuer = issuers.setdefault(
                    spki, ListIssuer(spki, self._lists, self._responder, self._validity)
                )
                named |= dict.fromkeys(keys, issuer)
        return named


@dataclass(frozen=True, eq=False)
class ListIssuer:
    """Answers for one CA from the lists in force."""

    issuer: SpkiHash
    lists: KeptLists
    responder: ListResponder
    validity: timedelta

    @property
    def certificate(self) -> x509.Certificate:
        """The responder's certificate."""
        return self.responder.certificate

    @property
    def signer(self) -> Signer:
        """The responder's key."""
        return self.responder.signer

    def mark(self, serials: Sequence[int], now: datetime) -> Hashable:  # noqa: ARG002 (the lists have the clock)
        """Return what the lists in force say: while that is the same, a response holds."""
        return tuple(self.lists.statement(self.issuer, serial) for serial in serials)

    async def say(self, serial: int, now: datetime) -> Statement:
        """Say what the lists in force say of a serial, until their nextUpdate at the latest.

        Raises `ListNotInForceError`.
        """
        found = self.lists.statement(self.issuer, serial)
        if found is None:
            raise ListNotInForceError(
                Text("No list of this CA is in force.", "Aucune liste de cette AC n’est en vigueur."),
                issuer=self.issuer,
            )
        return Statement(
            Status(found.status.value),
            found.this_update,
            min(found.next_update, whole_second(now) + self.validity),
            found.revoked_at,
            None if found.reason is None else reason_flag(found.reason.value),
        )


@lru_cache(maxsize=4096)  # asked after every change of any list, of certificates that hardly ever do
def _names(authority: x509.Certificate) -> tuple[SpkiHash, tuple[IssuerKey, ...]]:
    return spki_sha256(authority), tuple(issuer_keys(authority))
