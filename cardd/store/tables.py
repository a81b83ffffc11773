"""The tables. Uniqueness, ownership and numbering are constraints here, never checks in code.

Times are stored in UTC; serials are lower-case hexadecimal; hashes are lower-case hexadecimal
SHA-256; states are the values of the rooms' enums.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from cardd.store.backend import ONLY_MACHINE

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, on databases with and without time zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware datetime."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def _time(name: str, *, nullable: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _machine(**options: Any) -> sa.Column[str]:
    """Return the column of what belongs to one machine of those that share a database (`Store.machine`)."""
    return sa.Column("machine", sa.Text, nullable=False, server_default=ONLY_MACHINE, **options)


def _text(name: str, *args: Any, nullable: bool = False, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *args, nullable=nullable, **options)


#: Facts about the state itself: instance identifier, publication address, PKI policy as first set.
instance = sa.Table(
    "instance", metadata, _text("name", primary_key=True), sa.Column("value", sa.JSON, nullable=False)
)

#: The machines that share this database, and who of them may ask those with the CA keys to sign.
machines = sa.Table(
    "machines",
    metadata,
    _text("id", primary_key=True),
    _text("name", comment="its host name, for people"),
    _text("address", comment="host:port where it signs for others; may be empty"),
    sa.Column("certificate", sa.LargeBinary, nullable=False, comment="DER; what it shows to other machines"),
    sa.Column("holds_ca", sa.Boolean, nullable=False, comment="the CA keys are within its reach"),
    _time("seen_at", nullable=False),
    _time("enrolled_at"),
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    _time("at", nullable=False),
    _text("actor"),
    _text("action"),
    _text("subject", index=True),
    sa.Column("details", sa.JSON, nullable=False),
    _text("previous_hash"),
    _text("hash", unique=True),
)

#: One row: the last line's number and hash. Locked while a transaction appends, so that lines follow one another.
journal_head = sa.Table(
    "journal_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.Integer, nullable=False),
    _text("hash"),
)

#: The outbox: events committed with the change they tell of.
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _time("at", nullable=False),
    _text("type"),
    _text("subject"),
    sa.Column("data", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

#: Requests answered under an `Idempotency-Key`, committed with their effect.
idempotency = sa.Table(
    "idempotency",
    metadata,
    _text("caller", primary_key=True),
    _text("key", primary_key=True),
    _text("request_sha256"),
    _text("kind", comment="what the request made: order, certificate, habilitation, card…"),
    _text("subject", comment="identifier of what it made"),
    _time("created_at", nullable=False),
    sa.Column("status", sa.Integer, comment="HTTP status of the answer, once given"),
    _text("content_type", nullable=True),
    sa.Column("body", sa.LargeBinary),
)

structures = sa.Table(
    "structures",
    metadata,
    _text("id", primary_key=True, comment="prefix and number, as in the certificates' OU"),
    _text("kind", comment="siret, siren or finess"),
    _text("number"),
    _text("name"),
    _text("address"),
    _text("postal_code"),
    _text("town"),
    _time("created_at", nullable=False),
)

habilitations = sa.Table(
    "habilitations",
    metadata,
    _text("id", primary_key=True),
    _text("state", index=True),
    _text("structure_id", sa.ForeignKey("structures.id"), index=True),
    sa.Column("form", sa.JSON, nullable=False, comment="the fields of form F414 as submitted"),
    sa.Column("offers", sa.JSON, nullable=False, comment="offers and usages that it authorises"),
    _time("submitted_at", nullable=False),
    _time("decided_at"),
    _text("reason", nullable=True),
    _time("withdrawn_at"),
)

cards = sa.Table(
    "cards",
    metadata,
    _text("serial", primary_key=True, comment="8 digits, as in EF.SN"),
    _text("medium", comment="softhsm or virtual"),
    _text("type", comment="cps, cpe or cpa"),
    _text("token_serial", unique=True, nullable=True),
    sa.Column("holder", sa.JSON, nullable=False),
    _text("habilitation_id", sa.ForeignKey("habilitations.id"), nullable=True),
    _time("issued_at", nullable=False),
    _time("opposes_at", nullable=False),
    _time("opposed_at"),
    _text("opposed_reason", nullable=True),
    _machine(comment="where the card is"),
    sa.Column("inserted", sa.Boolean, nullable=False),
    sa.Column("pin_tries_left", sa.Integer, nullable=False),
    sa.Column("puk_tries_left", sa.Integer, nullable=False, server_default="3"),
    sa.Column(
        "capabilities", sa.JSON, nullable=False, comment="what each key can do, as last asked of the module"
    ),
)

habilitation_cards = sa.Table(
    "habilitation_cards",
    metadata,
    _text("habilitation_id", sa.ForeignKey("habilitations.id"), primary_key=True),
    _text("card_serial", primary_key=True, index=True),
    _time("added_at", nullable=False),
)

#: Tokens that the daemon itself holds (their PINs are in the vault, not here).
tokens = sa.Table(
    "tokens",
    metadata,
    _text("serial", primary_key=True),
    _machine(comment="where the token is"),
    _text("label"),
    _text("purpose", comment="pki, structure or card"),
    _text("structure_id", sa.ForeignKey("structures.id"), nullable=True),
    _text("module", comment="profile of the PKCS#11 module"),
    _text("level", comment="software, machine-bound or hardware, as it is now"),
    _time("created_at", nullable=False),
    _time("retired_at"),
    sa.UniqueConstraint("machine", "label"),
    sa.UniqueConstraint("machine", "structure_id"),
)

#: The counter that a token and this registry advance together; what diverges was restored or copied.
token_chains = sa.Table(
    "token_chains",
    metadata,
    _text("token_serial", sa.ForeignKey("tokens.serial"), primary_key=True),
    sa.Column("counter", sa.BigInteger, nullable=False),
    _text("hash"),
    sa.Column("pending_counter", sa.BigInteger, comment="announced here, perhaps not yet on the token"),
    _text("pending_hash", nullable=True),
    _time("quarantined_at"),
    _text("reason", nullable=True, comment="how the token diverged"),
    _text("decision", nullable=True, comment="revoked or released"),
    _time("decided_at"),
)

#: What was read back of each key made on a token, signed with the instance's key (JWS, RFC 7515).
key_evidence = sa.Table(
    "key_evidence",
    metadata,
    _text("spki_sha256", primary_key=True),
    _text("statement"),
    _time("made_at", nullable=False),
)

#: Public halves of the keys that sign evidence: each machine's, so that any of them can check any statement.
instance_keys = sa.Table(
    "instance_keys",
    metadata,
    _text("id", primary_key=True, comment="SHA-256 of the SubjectPublicKeyInfo"),
    _text("public_key", comment="PEM, Ed25519"),
    _time("noted_at", nullable=False),
)

#: Keys about to be made on a token. What is still here at a start was cut short and is destroyed.
key_intents = sa.Table(
    "key_intents",
    metadata,
    _text("key_id", primary_key=True),
    _text("token_serial"),
    _time("created_at", nullable=False),
)

#: Keys made in idle time that nobody holds yet (see `cardd.custody.stock`).
ready_keys = sa.Table(
    "ready_keys",
    metadata,
    _text("key_id", primary_key=True),
    _text("token_serial"),
    _text("algorithm"),
    _text("use", comment="sign, decrypt or sign_and_decrypt"),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    _text("spki_sha256", unique=True),
    _time("made_at", nullable=False),
    sa.Index(
        "ix_ready_keys_token_serial_algorithm_use_made_at", "token_serial", "algorithm", "use", "made_at"
    ),
)

#: One key, one holder: the claim of a public key, for as long as anything hangs on it.
key_registry = sa.Table(
    "key_registry",
    metadata,
    _text("spki_sha256", primary_key=True),
    _text("holder_kind", comment="order, card or ca"),
    _text("holder", comment="order id, card serial or CA name"),
    _text("token_serial", nullable=True),
    _text("key_id", nullable=True),
    _text("level", comment="software, machine-bound, hardware or external (a CSR's key)"),
    _time("claimed_at", nullable=False),
)

#: Compromised keys, which nothing is certified for any more; rows are never taken away.
blocked_keys = sa.Table(
    "blocked_keys",
    metadata,
    _text("spki_sha256", primary_key=True),
    _text("reason"),
    _time("blocked_at", nullable=False),
)

#: Lists are read from the index of their order, which holds what they are narrowed by (see `cardd.orders.sorting`).
orders = sa.Table(
    "orders",
    metadata,
    _text("id", primary_key=True),
    _text("state", index=True),
    _text("offer"),
    _text("usage"),
    _text("structure_id", sa.ForeignKey("structures.id"), index=True),
    _text("habilitation_id", sa.ForeignKey("habilitations.id")),
    _text("card_serial", index=True),
    sa.Column(
        "fields", sa.JSON, nullable=False, comment="service, fqdn, email, person: what the profile needs"
    ),
    sa.Column("contacts", sa.JSON, nullable=False),
    _text("label", comment="what the certificate will be called: its CN"),
    _text("search", comment="case-folded text that `q` looks in"),
    _text("key_source", comment="token or csr"),
    _text("algorithm"),
    _text("token_serial", nullable=True),
    _text("key_id", nullable=True),
    _text("key_label", nullable=True, comment="CKA_LABEL of the key, where it is not the order's label"),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    _text("spki_sha256", index=True),
    _text("level"),
    _time("created_at", nullable=False),
    _time("expires_at", nullable=False),
    _time("ended_at"),
    _time("proven_at"),
    _text("possession_nonce", nullable=True, comment="base64; what the key has yet to sign"),
    _time("possession_expires_at"),
    _text("renewal_of", nullable=True),
    *(
        sa.Index(f"ix_orders_by_{key}", key, "id", "state", "expires_at", "offer", "usage", "structure_id")
        for key in ("created_at", "label")
    ),
    sa.Index("ix_orders_state_expires_at", "state", "expires_at"),
)

#: Every certificate the PKI has signed: leaves of orders and cards, CAs and responders.
certificates = sa.Table(
    "certificates",
    metadata,
    _text("serial", primary_key=True),
    _text("kind", comment="order, card, ca or responder"),
    _text("issuer", comment="code of the issuing CA, such as ACI-EL-ORG"),
    _text("profile"),
    _text("order_id", sa.ForeignKey("orders.id"), nullable=True, unique=True),
    _text("card_serial", sa.ForeignKey("cards.serial"), nullable=True, index=True),
    _text("card_role", nullable=True, comment="authentication or signature"),
    _text("offer", nullable=True),
    _text("usage", nullable=True),
    _text("structure_id", sa.ForeignKey("structures.id"), nullable=True, index=True),
    _text("subject", comment="RFC 4514"),
    _text("common_name"),
    _text("search", comment="case-folded text that `q` looks in"),
    _time("not_before", nullable=False),
    _time("not_after", nullable=False),
    sa.Column("der", sa.LargeBinary, nullable=False),
    _text("spki_sha256", index=True),
    _text("token_serial", nullable=True),
    _text("key_id", nullable=True),
    _text("key_label", nullable=True, comment="CKA_LABEL of the key, where it is not the common name"),
    _text("level"),
    sa.Column(
        "on_token",
        sa.Boolean,
        nullable=False,
        comment="written on the token beside its key, or not meant to be",
    ),
    sa.Column("contacts", sa.JSON, nullable=False),
    _time("issued_at", nullable=False),
    _time("revoked_at"),
    _text("revocation_reason", nullable=True),
    sa.Column("crl_entry", sa.LargeBinary, comment="the entry of the CRL, encoded once (RFC 5280 §5.1.2.6)"),
    sa.Column("first_crl", sa.BigInteger, comment="number of the first list that carries the entry"),
    _text("revocation_code_hash", nullable=True, comment="Argon2id"),
    sa.Column("code_failures", sa.Integer, nullable=False, server_default="0"),
    _time("code_locked_until"),
    _time("noticed_at"),
    sa.Index("ix_certificates_kind_not_after", "kind", "not_after"),
    *(
        sa.Index(
            f"ix_certificates_by_{key}",
            key,
            "serial",
            "kind",
            "revoked_at",
            *rest,
            "offer",
            "usage",
            "structure_id",
            "card_serial",
        )
        for key, rest in (("issued_at", ["not_after"]), ("common_name", ["not_after"]), ("not_after", []))
    ),
    sa.Index("ix_certificates_issuer_revoked_at", "issuer", "revoked_at"),
)

#: Revoked and in no list yet: nearly none, however many are revoked. `first_crl`, which is null in all of them, has
#: SQLite choose this index before another one that begins with the issuer.
_UNLISTED = certificates.c.crl_entry.is_not(None) & certificates.c.first_crl.is_(None)
sa.Index(
    "ix_certificates_unlisted",
    certificates.c.issuer,
    certificates.c.first_crl,
    certificates.c.revoked_at,
    sqlite_where=_UNLISTED,
    postgresql_where=_UNLISTED,
)

authorities = sa.Table(
    "authorities",
    metadata,
    _text("name", primary_key=True, comment="code of the CA, such as ACR-EL"),
    _text("token_serial"),
    _text("key_id"),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    _text("certificate_serial", sa.ForeignKey("certificates.serial"), nullable=True),
    _text("responder_key_id"),
    sa.Column("responder_spki", sa.LargeBinary, nullable=False),
    _text("responder_serial", sa.ForeignKey("certificates.serial"), nullable=True),
    sa.Column(
        "crl_number", sa.BigInteger, nullable=False, comment="the last number given out; never goes back"
    ),
    sa.Column(
        "crl_wanted", sa.Boolean, nullable=False, comment="a revocation is not in the published list yet"
    ),
)

#: OCSP responders that are no CA's own, by what they answer from.
responders = sa.Table(
    "responders",
    metadata,
    _text("name", primary_key=True, comment="lists: the revocation lists kept of others"),
    _text("token_serial"),
    _text("key_id"),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    _text("certificate_serial", sa.ForeignKey("certificates.serial")),
)

crls = sa.Table(
    "crls",
    metadata,
    _text("issuer", sa.ForeignKey("authorities.name"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("kind", primary_key=True, comment="full or delta"),
    sa.Column(
        "base_number",
        sa.BigInteger,
        comment="of a delta: BaseCRLNumber; of a full list: its own number where it is a base",
    ),
    _time("this_update", nullable=False),
    _time("next_update", nullable=False),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("der", sa.LargeBinary, nullable=False),
)

#: Notices to contacts that wait to be sent, or were.
notices = sa.Table(
    "notices",
    metadata,
    _text("id", primary_key=True),
    _text("certificate_serial", sa.ForeignKey("certificates.serial")),
    _text("kind", comment="retrieved, expiring or revoked"),
    _text("recipient"),
    _time("due_at", nullable=False),
    _time("sent_at"),
    sa.Column("attempts", sa.Integer, nullable=False),
    _text("last_error", nullable=True),
    sa.UniqueConstraint("certificate_serial", "kind", "recipient"),
    sa.Index("ix_notices_sent_at_due_at", "sent_at", "due_at"),
)

#: What is wrong and was told of; a row goes once it is over.
alerts = sa.Table(
    "alerts",
    metadata,
    _text("machine", primary_key=True, comment="which saw it"),
    _text("kind", primary_key=True),
    _text("subject", primary_key=True),
    sa.Column("detail", sa.JSON, nullable=False, comment="what is wrong, in English and French"),
    _time("raised_at", nullable=False),
    _time("told_at", nullable=False),
)

#: Where events are sent, and how far each has come in the outbox.
outgoing_targets = sa.Table(
    "outgoing_targets",
    metadata,
    _text("target", primary_key=True, comment="https:, http: or mailto: address"),
    sa.Column("last_event", sa.BigInteger, nullable=False, comment="events up to this number were looked at"),
)

#: Events on their way to a target, or there.
outgoing_deliveries = sa.Table(
    "outgoing_deliveries",
    metadata,
    _text("target", primary_key=True),
    sa.Column("event_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event", sa.JSON, nullable=False, comment="what is sent, as it was when it happened"),
    _time("due_at"),
    sa.Column("attempts", sa.Integer, nullable=False),
    _time("ended_at"),
    sa.Column("delivered", sa.Boolean, nullable=False),
    _text("last_error", nullable=True),
    sa.Index("ix_outgoing_deliveries_due_at", "due_at"),
)

#: Lists of a machine's revocation cache: where each comes from, and how its last fetch went. Entries are in the index.
crl_sources = sa.Table(
    "crl_sources",
    metadata,
    _machine(primary_key=True, comment="whose cache it is"),
    _text("id", primary_key=True),
    _text("origin", comment="local, added, settings, certificate or igc-sante"),
    sa.Column("certificate", sa.LargeBinary, nullable=False, comment="DER; its key signs the list"),
    sa.Column(
        "certificate_issuers", sa.JSON, nullable=False, comment="further CAs it speaks of, DER in base64"
    ),
    sa.Column("urls", sa.JSON, nullable=False),
    sa.Column("delta_urls", sa.JSON, nullable=False),
    sa.Column("validators", sa.JSON, nullable=False, comment="by address: etag, last_modified, sha256"),
    _time("added_at", nullable=False),
    _time("confirmed_at"),
    _time("next_fetch_at"),
    _time("stale_at"),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_error", sa.JSON, comment="code, en and fr of the last failure since the last success"),
    _text("told_state", comment="the freshness that events have told last"),
)

freshness_policies = sa.Table(
    "freshness_policies",
    metadata,
    _text("name", primary_key=True, comment="as requests name it, or the application that it is for"),
    _text("stale", comment="accept, warn or refuse"),
    _text("expired", comment="accept, warn or refuse"),
    sa.Column("expired_hours", sa.Integer, comment="how long after nextUpdate `expired` holds"),
    _time("changed_at", nullable=False),
)

#: Applications that the owner let in; their tokens are kept as hashes.
applications = sa.Table(
    "applications",
    metadata,
    _text("id", primary_key=True),
    _text("name"),
    _text("origin", nullable=True, comment="of its pages, where it runs in a browser"),
    sa.Column("scopes", sa.JSON, nullable=False),
    _text("state", index=True, comment="waiting, active, expired or revoked"),
    _text("token_sha256", nullable=True, unique=True),
    _time("created_at", nullable=False),
    _time("expires_at"),
    _time("last_used_at"),
    _time("ended_at"),
    sa.Index("ix_applications_created_at_id", "created_at", "id"),
)

#: Requests to be let in. Of one requester, one is pending at a time.
pairings = sa.Table(
    "pairings",
    metadata,
    _text("id", primary_key=True),
    _text("name"),
    _text("origin", nullable=True),
    _text("requester", comment="the origin, or the name of a program"),
    sa.Column("scopes", sa.JSON, nullable=False, comment="as asked for"),
    _text("state", comment="pending, allowed, completed, denied, expired or locked"),
    _text("code", comment="six digits, shown on both sides"),
    _text("secret_sha256"),
    sa.Column("failures", sa.Integer, nullable=False, comment="wrong codes and secrets"),
    _text("application_id", sa.ForeignKey("applications.id"), nullable=True, unique=True),
    _time("requested_at", nullable=False),
    _time("expires_at", nullable=False),
    _time("decided_at"),
    sa.Index("ix_pairings_state_expires_at", "state", "expires_at"),
    sa.Index(
        "uq_pairings_pending_requester",
        "requester",
        unique=True,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
)
