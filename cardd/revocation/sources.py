"""Where lists come from: the rows of the cache's sources, and the addresses of ANS's published lists."""

import base64
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.revocation.errors import SourceFixedError, SourceKnownError
from cardd.revocation.lists import spki_sha256
from cardd.revocation.types import CrlId, CrlView, Freshness, SpkiHash
from cardd.settings import RevocationSettings, SettingsError
from cardd.store import Store, Transaction, tables
from cardd.text import Text

#: Where ANS publishes the lists of IGC-Santé TEST, decoded from its TEST certificates.
IGC_SANTE_URL = "http://igc-sante.esante.gouv.fr/CRL/{name}.crl"

#: The CAs of IGC-Santé TEST: the name their list is published under, and their CN.
IGC_SANTE_TEST = {
    "ACR-EL-TEST": "TEST AC RACINE IGC-SANTE ELEMENTAIRE",
    "ACR-ST-TEST": "TEST AC RACINE IGC-SANTE STANDARD",
    "ACR-FO-TEST": "TEST AC RACINE IGC-SANTE FORT",
    "ACI-EL-ORG-TEST": "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",
    "ACI-EL-PP-TEST": "TEST AC IGC-SANTE ELEMENTAIRE PERSONNES",
    "ACI-ST-ORG-TEST": "TEST AC IGC-SANTE STANDARD ORGANISATIONS",
    "ACI-ST-PP-TEST": "TEST AC IGC-SANTE STANDARD PERSONNES",
    "ACI-FO-ORG-TEST": "TEST AC IGC-SANTE FORT ORGANISATIONS",
    "ACI-FO-PP-TEST": "TEST AC IGC-SANTE FORT PERSONNES",
}

#: Origins whose lists the API cannot remove.
_FIXED = frozenset({"local", "settings", "igc-sante"})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why the last fetch failed."""

    code: str
    text: Text


class Source(NamedTuple):
    """A list to keep, and how its last fetch went."""

    id: CrlId
    origin: str
    signer: x509.Certificate
    others: tuple[x509.Certificate, ...]
    """Further CAs that the list speaks of."""
    urls: tuple[str, ...]
    delta_urls: tuple[str, ...]
    validators: dict[str, dict[str, str | None]]
    confirmed_at: datetime | None = None
    next_fetch_at: datetime | None = None
    stale_at: datetime | None = None
    failures: int = 0
    last_error: Failure | None = None
    told_state: Freshness = Freshness.UNAVAILABLE

    @property
    def issuer(self) -> SpkiHash:
        """The hash of the key that signs the list."""
        return spki_sha256(self.signer)

    @property
    def may_be_private(self) -> bool:
        """Whether its addresses may be private ones: the operator's may, those found in certificates not."""
        return self.origin != "certificate"


class NewSource(NamedTuple):
    """A list to keep from now on."""

    id: CrlId
    origin: str
    signer: x509.Certificate
    others: tuple[x509.Certificate, ...] = ()
    urls: tuple[str, ...] = ()
    delta_urls: tuple[str, ...] = ()


class Sources:
    """The sources of this machine in the store, and their state in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ours = tables.crl_sources.c.machine == store.machine
        self._known: dict[CrlId, Source] = {}

    async def load(self) -> None:
        """Read every source."""
        async with self._store.read() as connection:
            rows = (await connection.execute(sa.select(tables.crl_sources).where(self._ours))).all()
        self._known = {source.id: source for source in map(_from_row, rows)}

    def all(self) -> list[Source]:
        """Return every source, by identifier."""
        return [self._known[key] for key in sorted(self._known)]

    def get(self, source: str) -> Source | None:
        """Return one source."""
        return self._known.get(CrlId(source))

    async def add(self, tx: Transaction, new: NewSource) -> Source:
        """Keep a list from now on; one of the same identifier raises `SourceKnownError`."""
        statement = sa.select(tables.crl_sources.c.id).where(self._ours, tables.crl_sources.c.id == new.id)
        if (await tx.execute(statement)).first() is not None:
            raise SourceKnownError(
                Text(f"It is kept as {new.id}.", f"Elle est suivie sous {new.id}."), crl=new.id
            )
        await tx.execute(
            sa.insert(tables.crl_sources).values(
                **_described(new),
                machine=self._store.machine,
                id=new.id,
                origin=new.origin,
                validators={},
                added_at=tx.now,
                next_fetch_at=tx.now if new.urls else None,
                failures=0,
                told_state=Freshness.UNAVAILABLE,
            )
        )
        return Source(*new, validators={}, next_fetch_at=tx.now if new.urls else None)

    async def update(self, tx: Transaction, source: Source) -> None:
        """Store a changed source."""
        values = {
            **_described(source),
            "validators": source.validators,
            "confirmed_at": source.confirmed_at,
            "next_fetch_at": source.next_fetch_at,
            "stale_at": source.stale_at,
            "failures": source.failures,
            "last_error": None if source.last_error is None else msgspec.to_builtins(source.last_error),
            "told_state": source.told_state,
        }
        table = tables.crl_sources
        await tx.execute(sa.update(table).where(self._ours, table.c.id == source.id).values(**values))

    async def remove(self, tx: Transaction, source: Source) -> None:
        """Forget a source; raises `SourceFixedError` for those that others than the API decide on."""
        if source.origin in _FIXED:
            raise SourceFixedError(
                Text(
                    f"{source.id} is of origin {source.origin}.",
                    f"{source.id} est d’origine {source.origin}.",
                )
            )
        await self.forget(tx, source)

    async def forget(self, tx: Transaction, source: Source) -> None:
        """Forget a source, whoever decided on it."""
        await tx.execute(
            sa.delete(tables.crl_sources).where(self._ours, tables.crl_sources.c.id == source.id)
        )

    def remember(self, source: Source) -> None:
        """Take a committed change over."""
        self._known[source.id] = source

    def drop(self, source: Source) -> None:
        """Take a committed removal over."""
        self._known.pop(source.id, None)


def derived_id(signer: x509.Certificate, urls: tuple[str, ...]) -> CrlId:
    """Return the identifier of an added list: the same key and first address give the same."""
    return CrlId(hashlib.sha256(f"{spki_sha256(signer)} {urls[0]}".encode()).hexdigest()[:16])


def read_certificate(given: str | bytes, field: str) -> x509.Certificate:
    """Read a certificate: PEM, DER, or DER in base64; raises `InvalidFieldsError` naming `field`."""
    content = given.encode() if isinstance(given, str) else given
    try:
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificate(content)
        if content[:1] == b"\x30":
            return x509.load_der_x509_certificate(content)
        return x509.load_der_x509_certificate(base64.b64decode(b"".join(content.split()), validate=True))
    except ValueError:
        raise InvalidFieldsError(
            [
                FieldProblem(
                    field,
                    Text(
                        "is not a certificate (PEM, or DER in base64)",
                        "n’est pas un certificat (PEM, ou DER en base64)",
                    ),
                )
            ]
        ) from None


def igc_sante_sources(directory: Path) -> list[NewSource]:
    """Return the lists of the IGC-Santé TEST CAs whose certificates are in a directory."""
    wanted = {common_name: name for name, common_name in IGC_SANTE_TEST.items()}
    found: dict[str, NewSource] = {}
    for path in sorted(directory.glob("*")):
        if path.suffix not in (".cer", ".crt", ".der", ".pem"):
            continue
        certificate = read_certificate(path.read_bytes(), path.name)
        common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = wanted.get(str(common_names[0].value)) if common_names else None
        if name is not None:
            url = IGC_SANTE_URL.format(name=name)
            found[name] = NewSource(CrlId(f"IGC-SANTE-{name}"), "igc-sante", certificate, urls=(url,))
    return list(found.values())


def configured_sources(settings: RevocationSettings) -> list[NewSource]:
    """Return the lists that the settings name; raises `SettingsError` for a certificate that cannot be read."""
    found = []
    try:
        for each in settings.lists:
            content = Path(each.issuer_certificate).read_bytes()
            signer = read_certificate(content, "revocation.lists.issuer_certificate")
            found.append(NewSource(derived_id(signer, (each.url,)), "settings", signer, urls=(each.url,)))
        if settings.igc_sante:
            found += igc_sante_sources(Path(settings.igc_sante))
    except (OSError, InvalidFieldsError) as error:
        reason = error.detail if isinstance(error, InvalidFieldsError) else Text(str(error), str(error))
        raise SettingsError(
            Text(f"[revocation]: {reason.en}.", f"[revocation] : {reason.fr}."),
        ) from None
    return found


def view_of(source: Source, *, state: Freshness, **more: Any) -> CrlView:
    """Return a source as the API shows it; `more` is what the index and a fetch under way add."""
    return CrlView(
        id=source.id,
        issuer=source.signer.subject.rfc4514_string(),
        issuer_spki_sha256=source.issuer,
        urls=source.urls,
        origin=source.origin,
        state=state,
        fetched_at=source.confirmed_at,
        next_fetch_at=source.next_fetch_at,
        failures=source.failures,
        **more,
    )


def _described(source: Source | NewSource) -> dict[str, Any]:
    return {
        "certificate": source.signer.public_bytes(Encoding.DER),
        "certificate_issuers": [
            base64.b64encode(other.public_bytes(Encoding.DER)).decode() for other in source.others
        ],
        "urls": list(source.urls),
        "delta_urls": list(source.delta_urls),
    }


def _from_row(row: sa.Row[Any]) -> Source:
    return Source(
        id=CrlId(row.id),
        origin=row.origin,
        signer=x509.load_der_x509_certificate(row.certificate),
        others=tuple(
            x509.load_der_x509_certificate(base64.b64decode(each)) for each in row.certificate_issuers
        ),
        urls=tuple(row.urls),
        delta_urls=tuple(row.delta_urls),
        validators=row.validators,
        confirmed_at=row.confirmed_at,
        next_fetch_at=row.next_fetch_at,
        stale_at=row.stale_at,
        failures=row.failures,
        last_error=None if row.last_error is None else msgspec.convert(row.last_error, Failure),
        told_state=Freshness(row.told_state),
    )
