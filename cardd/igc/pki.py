"""The test PKI in operation: nine CAs whose keys are on a token, and all that they have signed.

Keys are made first and committed CA by CA; the certificates of the hierarchy follow in one
transaction. A first start that was cut short goes on where it stopped.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cardd.clock import Clock
from cardd.custody.keys import KeyMaker, MadeKey
from cardd.custody.policy import KeyUse
from cardd.custody.registry import HolderKind, KeyIntents, claim, spki_hash
from cardd.custody.tokens import TokenKeeper, TokenPurpose
from cardd.igc.answerers import CertificateStatus, Responder, Status
from cardd.igc.authority import Authority
from cardd.igc.crl import RevocationReason, encode_entry
from cardd.igc.distant import DistantOcsp, DistantPki
from cardd.igc.errors import PkiUnfinishedError, PolicyError
from cardd.igc.hierarchy import HierarchyBuilder, publishes_at, responder_renewal_due
from cardd.igc.issuing import IssuedCertificate, Issuer, IssueRequest, serial_hex
from cardd.igc.lint import Linter
from cardd.igc.names import CaName, readable_name
from cardd.igc.ocsp import OcspService
from cardd.igc.policy import PkiPolicy
from cardd.igc.publishing import CrlPublisher, PublisherParts
from cardd.igc.tokensigner import TokenSigner
from cardd.store import Store, Transaction, tables
from cardd.store.gathering import Gathered
from cardd.text import Text
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.tasks import together
from cardd_pkcs11.types import KeyAlgorithm, KeyId, TokenSerial

#: Called after each CA key that was made, with how many are there and how many there will be.
KeyProgress = Callable[[int, int], None]

#: The parts of the policy that the CAs' names and keys follow, fixed once they exist.
_FIXED = ("country", "organisation", "organisational_units", "ca_algorithm")
#: Of the keys of OCSP responders, by whether the CAs' are RSA.
RESPONDER_ALGORITHM = {True: KeyAlgorithm.RSA_2048, False: KeyAlgorithm.EC_P256}


#: How long a machine waits at its start for another that makes the hierarchy, in seconds.
_MAKING_SECONDS = 600.0


@dataclass(frozen=True)
class Recorded:
    """What the store keeps of a certificate beside its bytes."""

    kind: Literal["order", "card", "ca", "responder"]
    profile: str
    level: str
    order_id: str | None = None
    card_serial: str | None = None
    card_role: str | None = None
    offer: str | None = None
    usage: str | None = None
    structure_id: str | None = None
    search: str = ""
    token_serial: str | None = None
    key_id: str | None = None
    key_label: str | None = None
    on_token: bool = True
    contacts: tuple[str, ...] = ()
    revocation_code_hash: str | None = None


#: Made once: making a statement takes longer than executing it.
_STATUS = sa.select(
    tables.certificates.c.serial,
    tables.certificates.c.issuer,
    tables.certificates.c.revoked_at,
    tables.certificates.c.revocation_reason,
).where(tables.certificates.c.serial.in_(sa.bindparam("serials", expanding=True)))


@dataclass
class _Keys:
    """The keys of one CA and of its responder, as committed."""

    signer: TokenSigner
    responder: TokenSigner
    certificate_serial: str | None
    responder_serial: str | None


@dataclass(frozen=True)
class PkiParts:
    """What the PKI is made from."""

    store: Store
    clock: Clock
    policy: PkiPolicy
    pool: TokenOperations
    keeper: TokenKeeper
    maker: KeyMaker
    intents: KeyIntents
    linter: Linter
    base_every: timedelta
    #: Asked where the CA keys are on other machines.
    distant: DistantPki | None = None
    #: Asked before a public key is certified; raises to refuse.
    admit: Callable[[bytes], Awaitable[None]] | None = None


class Pki:
    """The hierarchy, ready to issue and to revoke once `start` has returned."""

    def __init__(self, parts: PkiParts) -> None:
        self._parts = parts
        self._builder = HierarchyBuilder(parts.policy, parts.linter)
        self._authorities: dict[CaName, Authority] = {}
        self._responders: dict[CaName, Responder] = {}
        self._keys: dict[CaName, _Keys] = {}
        self._issuer = Issuer(parts.policy, self._authorities, parts.linter)
        self._ocsp: OcspService | DistantOcsp | None = None
        self._recorded_status: Gathered[str, Any] = Gathered(self._statuses)
        #: Whether the CA keys are on other machines, which then sign.
        self.elsewhere = False
        self.lists = CrlPublisher(
            PublisherParts(
                store=parts.store,
                clock=parts.clock,
                policy=parts.policy,
                linter=parts.linter,
                authorities=self._authorities,
                base_every=parts.base_every,
                on_change=self._forget_answers,
            )
        )

    @property
    def authorities(self) -> Mapping[CaName, Authority]:
        """The CAs with their present certificates."""
        return self._authorities

    @property
    def ocsp(self) -> OcspService | DistantOcsp:
        """The OCSP service of the nine CAs, there once `start` has returned."""
        if self._ocsp is None:
            raise RuntimeError("the PKI is not started")
        return self._ocsp

    @property
    def parts(self) -> PkiParts:
        """What the PKI is made from."""
        return self._parts

    @property
    def policy(self) -> PkiPolicy:
        """What the operator decided."""
        return self._parts.policy

    async def start(self, progress: KeyProgress) -> None:
        """Make what is missing of the hierarchy, load it, renew what is due, and publish the lists.

        Of several machines on one database the first makes the hierarchy, and the others find it.

        Raises:
            PolicyError: the names or the algorithm of existing CAs would change.
            PkiUnfinishedError: another machine has not finished making the hierarchy.
        """
        await self._fix_policy()
        async with self._parts.store.exclusively("pki", wait=_MAKING_SECONDS) as alone:
            await self._load_keys()
            self.elsewhere = self.lists.elsewhere = await self._is_elsewhere()
            finished = set(self._keys) == set(CaName) and all(
                keys.certificate_serial and keys.responder_serial for keys in self._keys.values()
            )
            if not finished and (self.elsewhere or not alone):
                raise PkiUnfinishedError(
                    Text(
                        "Another machine has begun to make the test PKI and has not finished it.",
                        "Une autre machine a commencé à créer l’IGC de test et n’a pas terminé.",
                    )
                )
            if self.elsewhere:
                await self._load_certificates()
            else:
                await self._prepare(progress)
        if self.elsewhere:
            self._ocsp = DistantOcsp(self._distant)
        else:
            self._ocsp = OcspService(self._parts.policy, self._responders, self.status)
        await self.lists.start()

    async def _prepare(self, progress: KeyProgress) -> None:
        """Make what is missing of the hierarchy, and renew what is due."""
        await self._make_missing_keys(progress)
        if any(keys.certificate_serial is None for keys in self._keys.values()):
            await self._certify_hierarchy()
        else:
            await self._load_certificates()
        await self._reissue_moved()
        await self._renew_responders()

    async def _is_elsewhere(self) -> bool:
        """Tell whether the CA keys are on tokens that are not kept here."""
        if not self._parts.store.shared or not self._keys:
            return False
        kept = {record.serial for record in await self._parts.keeper.list()}
        async with self._parts.store.read() as connection:
            tokens = await connection.execute(sa.select(tables.authorities.c.token_serial).distinct())
            return kept.isdisjoint(tokens.scalars())

    def _distant(self) -> DistantPki:
        if self._parts.distant is None:
            raise RuntimeError("the CA keys are elsewhere, and there is no way to them")
        return self._parts.distant

    async def follow(self) -> None:
        """Take over what other machines have revoked and published, and publish what they cannot."""
        for name in self._authorities:
            self._forget_answers(name)
        await self.lists.follow()
        if not self.elsewhere:
            await self.lists.publish_wanted()

    async def status(self, issuer: CaName, serial: int) -> CertificateStatus:
        """Say whether a CA has issued a serial and whether it revoked it; expired certificates keep their status."""
        row = await self._recorded_status(serial_hex(serial))
        if row is None or row.issuer != issuer:
            return CertificateStatus(Status.UNKNOWN)
        if row.revoked_at is None:
            return CertificateStatus(Status.GOOD)
        return CertificateStatus(
            Status.REVOKED, row.revoked_at, RevocationReason[row.revocation_reason.upper()]
        )

    async def _statuses(self, serials: frozenset[str]) -> dict[str, Any]:
        async with self._parts.store.read() as connection:
            rows = (await connection.execute(_STATUS, {"serials": list(serials)})).all()
        return {row.serial: row for row in rows}

    async def issue(self, request: IssueRequest) -> IssuedCertificate:
        """Build, lint and sign a leaf certificate; nothing is stored (see `record`)."""
        if self._parts.admit is not None:
            await self._parts.admit(request.public_key)
        if self.elsewhere:
            return await self._distant().issue(request)
        return await self._issuer.issue(request, self._parts.clock.now())

    async def record(self, tx: Transaction, issued: IssuedCertificate, recorded: Recorded) -> None:
        """Store a certificate in the caller's transaction; its serial is unique by constraint."""
        await _insert(tx, x509.load_der_x509_certificate(issued.der), issued.issuer, recorded)

    async def revoke_in(self, tx: Transaction, serial: str, reason: RevocationReason) -> bool:
        """Revoke a certificate in the caller's transaction; False when it was revoked before.

        After the commit the caller awaits `lists.publish_wanted`.
        """
        table = tables.certificates
        revoked_at = tx.now.replace(microsecond=0)
        result = await tx.execute(
            sa.update(table)
            .where((table.c.serial == serial) & table.c.revoked_at.is_(None))
            .values(
                revoked_at=revoked_at,
                revocation_reason=reason.name.lower(),
                crl_entry=encode_entry(int(serial, 16), revoked_at, reason),
            )
        )
        if result.rowcount == 0:
            return False
        issuer = sa.select(table.c.issuer).where(table.c.serial == serial).scalar_subquery()
        await tx.execute(
            sa.update(tables.authorities).where(tables.authorities.c.name == issuer).values(crl_wanted=True)
        )
        return True

    async def renew_responders(self) -> None:
        """Give every OCSP responder whose certificate is missing or near its end a new one.

        What another machine has renewed is taken over.
        """
        if not self._parts.store.shared:
            await self._renew_responders()
            return
        async with self._parts.store.exclusively("responders") as alone:
            await self._load_keys()
            await self._load_certificates()
            for responder in self._responders.values():
                self._answer_with(responder)
            if alone and not self.elsewhere:
                await self._renew_responders()

    async def _renew_responders(self) -> None:
        now = self._parts.clock.now()
        due = [
            name
            for name in self._authorities
            if name not in self._responders or responder_renewal_due(self._responders[name].certificate, now)
        ]
        for name in due:
            signer = self._keys[name].responder
            certificate = await self._builder.responder_certificate(
                self._authorities[name], signer.public_key, now
            )
            async with self._parts.store.transaction() as tx:
                await _insert(
                    tx, certificate, name, Recorded(kind="responder", profile="OCSP", level="software")
                )
                await _point(tx, name, responder_serial=serial_hex(certificate.serial_number))
                tx.journal("responder.certify", f"ca:{name}", serial=serial_hex(certificate.serial_number))
            self._answer_with(Responder(self._authorities[name], certificate, signer))

    def _answer_with(self, responder: Responder) -> None:
        self._responders[responder.authority.name] = responder
        if self._ocsp is not None:
            self._ocsp.replace(responder)

    def _forget_answers(self, name: CaName) -> None:
        if self._ocsp is not None:
            self._ocsp.invalidate(name)

    async def _fix_policy(self) -> None:
        """Store the fixed parts of the policy at the first start; refuse others later."""
        policy = msgspec.json.decode(msgspec.json.encode(self._parts.policy))
        wanted = {name: policy[name] for name in _FIXED}
        async with self._parts.store.transaction() as tx:
            table = tables.instance
            known = (await tx.execute(sa.select(table.c.value).where(table.c.name == "pki"))).scalar()
            if known is None:
                await tx.execute(sa.insert(table).values(name="pki", value=wanted))
        changed = [name for name in _FIXED if known is not None and known[name] != wanted[name]]
        if changed:
            names = ", ".join(changed)
            raise PolicyError(
                Text(
                    f"The PKI of this state was made with other values of: {names}.",
                    f"L’IGC de cet état a été créée avec d’autres valeurs de : {names}.",
                ),
                advice=Text(
                    "Restore these settings, or prepare another state directory for another PKI.",
                    "Rétablissez ces paramètres, ou préparez un autre répertoire d’état pour une autre IGC.",
                ),
            )

    async def _load_keys(self) -> None:
        async with self._parts.store.read() as connection:
            rows = (await connection.execute(sa.select(tables.authorities))).all()
        for row in rows:
            token = TokenSerial(row.token_serial)
            self._keys[CaName(row.name)] = _Keys(
                signer=self._signer(token, row.key_id, row.spki),
                responder=self._signer(token, row.responder_key_id, row.responder_spki),
                certificate_serial=row.certificate_serial,
                responder_serial=row.responder_serial,
            )

    def _signer(self, token: TokenSerial, key_id: str, spki: bytes) -> TokenSigner:
        return TokenSigner(self._parts.pool, token, KeyId(bytes.fromhex(key_id)), spki)

    async def _make_missing_keys(self, progress: KeyProgress) -> None:
        """Make keys side by side, each tier's on a token of its own, so that several hosts work."""
        missing = [name for name in CaName if name not in self._keys]
        keeper = self._parts.keeper
        tiers = sorted({name.tier.name for name in missing})
        tokens = {tier: await keeper.ensure(f"cardd PKI {tier}", purpose=TokenPurpose.PKI) for tier in tiers}

        async def make(name: CaName) -> None:
            await self._make_keys(name, tokens[name.tier.name])
            progress(len(self._keys), len(CaName))

        await together(make(name) for name in missing)

    async def _make_keys(self, name: CaName, token: TokenSerial) -> None:
        """Make the keys of one CA and of its responder and commit them together."""
        parts = self._parts
        algorithm = KeyAlgorithm(parts.policy.ca_algorithm.value)
        async with parts.intents.making(token) as ca_intent, parts.intents.making(token) as responder_intent:
            key = await parts.maker.make(token, ca_intent.key_id, name.code, algorithm, KeyUse.SIGN)
            responder_key = await parts.maker.make(
                token,
                responder_intent.key_id,
                f"OCSP {name.code}",
                RESPONDER_ALGORITHM[algorithm.is_rsa],
                KeyUse.SIGN,
            )
            async with parts.store.transaction() as tx:
                await ca_intent.fulfil(tx)
                await responder_intent.fulfil(tx)
                await self._commit_keys(tx, name, key, responder_key)
        self._keys[name] = _Keys(
            signer=TokenSigner(parts.pool, token, key.key_id, key.spki),
            responder=TokenSigner(parts.pool, token, responder_key.key_id, responder_key.spki),
            certificate_serial=None,
            responder_serial=None,
        )

    async def _commit_keys(self, tx: Transaction, name: CaName, key: MadeKey, responder_key: MadeKey) -> None:
        for made, holder in ((key, name.value), (responder_key, f"OCSP {name}")):
            await claim(
                tx,
                spki=made.spki,
                holder_kind=HolderKind.CA,
                holder=holder,
                token_serial=made.token_serial,
                key_id=made.key_id,
                level=made.level,
            )
        await tx.execute(
            sa.insert(tables.authorities).values(
                name=name,
                token_serial=key.token_serial,
                key_id=key.key_id.hex(),
                spki=key.spki,
                responder_key_id=responder_key.key_id.hex(),
                responder_spki=responder_key.spki,
                crl_number=0,
                crl_wanted=True,
            )
        )
        tx.journal("ca.key", f"ca:{name}", public_key_sha256=spki_hash(key.spki))

    async def _certify_hierarchy(self) -> None:
        now = self._parts.clock.now()
        made = await self._builder.build({name: keys.signer for name, keys in self._keys.items()}, now)
        async with self._parts.store.transaction() as tx:
            for name, authority in made.items():
                await self._commit_authority(tx, authority)
                tx.journal("ca.certify", f"ca:{name}", serial=serial_hex(authority.certificate.serial_number))
        self._authorities.update(made)

    async def _commit_authority(self, tx: Transaction, authority: Authority) -> None:
        name = authority.name
        profile = "ROOT" if name.is_root else "INTERMEDIATE"
        await _insert(
            tx, authority.certificate, name.issuer, Recorded(kind="ca", profile=profile, level="software")
        )
        await _point(tx, name, certificate_serial=serial_hex(authority.certificate.serial_number))

    async def _load_certificates(self) -> None:
        table = tables.certificates
        wanted = [
            s for keys in self._keys.values() for s in (keys.certificate_serial, keys.responder_serial) if s
        ]
        async with self._parts.store.read() as connection:
            rows = await connection.execute(
                sa.select(table.c.serial, table.c.der).where(table.c.serial.in_(wanted))
            )
            loaded = {row.serial: x509.load_der_x509_certificate(row.der) for row in rows}
        for name, keys in self._keys.items():
            self._authorities[name] = Authority(name, loaded[str(keys.certificate_serial)], keys.signer)
            if keys.responder_serial is not None:
                self._responders[name] = Responder(
                    self._authorities[name], loaded[keys.responder_serial], keys.responder
                )

    async def _reissue_moved(self) -> None:
        """Reissue the CA certificates whose addresses are no longer those of the policy: same key, same DN."""
        moved = [name for name in CaName if not publishes_at(self._authorities[name], self._parts.policy)]
        if not moved:
            return
        made = {
            n: await self._builder.reissue(self._authorities[n], self._authorities[n.issuer]) for n in moved
        }
        async with self._parts.store.transaction() as tx:
            for name, authority in made.items():
                await self._commit_authority(tx, authority)
                tx.journal("ca.reissue", f"ca:{name}", serial=serial_hex(authority.certificate.serial_number))
        self._authorities.update(made)


_INSERT = sa.insert(tables.certificates)


async def _insert(tx: Transaction, certificate: x509.Certificate, issuer: CaName, recorded: Recorded) -> None:
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    values: dict[str, Any] = {
        "serial": serial_hex(certificate.serial_number),
        "issuer": issuer,
        "subject": readable_name(certificate.subject),
        "common_name": str(common_names[0].value) if common_names else "",
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "der": certificate.public_bytes(Encoding.DER),
        "spki_sha256": spki_hash(spki),
        "issued_at": tx.now,
        **{name: getattr(recorded, name) for name in Recorded.__dataclass_fields__},
        "contacts": list(recorded.contacts),
    }
    await tx.execute(_INSERT, values)


async def _point(tx: Transaction, name: CaName, **values: str) -> None:
    await tx.execute(sa.update(tables.authorities).where(tables.authorities.c.name == name).values(**values))
