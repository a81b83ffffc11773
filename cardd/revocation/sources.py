"""Where lists come from: the rows of the cache's sources, and their state in memory."""

import base64
import hashlib
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.revocation.errors import SourceFixedError, SourceKnownError
from cardd.revocation.names import spki_sha256
from cardd.revocation.types import CrlId, CrlView, Freshness, SpkiHash
from cardd.store import Store, Transaction, tables
from cardd.text import Language, Text

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

    @property
    def described(self) -> "NewSource":
        """What was said of it when it was added."""
        return NewSource(self.id, self.origin, self.signer, self.others, self.urls, self.delta_urls)

    def redescribed(self, new: "NewSource") -> "Source":
        """Return the same list with what is said of it now; validators of addresses that stay are kept."""
        return self._replace(**new._asdict())


class NewSource(NamedTuple):
    """A list to keep from now on."""

    id: CrlId
    origin: str
    signer: x509.Certificate
    others: tuple[x509.Certificate, ...] = ()
    urls: tuple[str, ...] = ()
    delta_urls: tuple[str, ...] = ()


class Keeper(Protocol):
    """The cache, as those who give it lists to keep see it."""

    def authorities(self) -> list[x509.Certificate]:
        """Return the certificates of the CAs that the lists kept speak for."""
        ...

    def lacks(self, new: NewSource) -> bool:
        """Tell whether nothing kept is fetched from the addresses of a list, nor is the list the local PKI's own."""
        ...

    async def keep(self, new: NewSource) -> CrlView:
        """Keep a list from now on, as it is where it is kept already."""
        ...

    def lists(self, language: Language = "en") -> list[CrlView]:
        """Return every list."""
        ...

    async def remove(self, source: str) -> None:
        """Forget a list; raises `NotFoundError` or `SourceFixedError`."""
        ...


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
            "origin": source.origin,
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
