"""The responder that signs what lists of others say: a key on the PKI's token, certified once, when first wanted."""

from dataclasses import dataclass

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.custody.policy import KeyUse
from cardd.custody.registry import HolderKind, claim
from cardd.igc.errors import PkiUnfinishedError
from cardd.igc.hierarchy import HierarchyBuilder
from cardd.igc.issuing import IssuedCertificate, SerialNumber, serial_hex
from cardd.igc.names import LIST_RESPONDER, LIST_RESPONDER_ISSUER
from cardd.igc.pki import RESPONDER_ALGORITHM, Pki, PkiParts, Recorded
from cardd.igc.signer import Signer
from cardd.igc.tokensigner import TokenSigner
from cardd.store.tables import authorities, certificates, responders
from cardd.text import Text
from cardd_pkcs11.types import KeyAlgorithm, KeyId, TokenSerial

#: The row of the table.
_NAME = "lists"
#: How long a machine waits for another that makes the responder, in seconds.
_MAKING_SECONDS = 60.0


@dataclass(frozen=True)
class ListResponder:
    """The responder, ready to sign."""

    certificate: x509.Certificate
    signer: Signer


async def list_responder(pki: Pki) -> ListResponder:
    """Return the responder, made where there is none; `pki` is started and has its CA keys here.

    Key and certificate are committed together: a start that was cut short leaves neither.

    Raises `CarddError`.
    """
    parts = pki.parts
    async with parts.store.exclusively("list responder", wait=_MAKING_SECONDS) as alone:
        known = await _load(parts)
        if known is not None:
            return known
        if not alone:
            raise PkiUnfinishedError(
                Text(
                    "Another machine has begun to make the OCSP responder for lists and has not finished it.",
                    "Une autre machine a commencé à créer le répondeur OCSP des listes et n’a pas terminé.",
                )
            )
        return await _make(pki)


async def _load(parts: PkiParts) -> ListResponder | None:
    joined = sa.select(responders, certificates.c.der).join(certificates)
    async with parts.store.read() as connection:
        row = (await connection.execute(joined.where(responders.c.name == _NAME))).first()
    if row is None:
        return None
    signer = TokenSigner(
        parts.pool, TokenSerial(row.token_serial), KeyId(bytes.fromhex(row.key_id)), row.spki
    )
    return ListResponder(x509.load_der_x509_certificate(row.der), signer)


async def _make(pki: Pki) -> ListResponder:
    parts = pki.parts
    authority = pki.authorities[LIST_RESPONDER_ISSUER]
    where = sa.select(authorities.c.token_serial).where(authorities.c.name == LIST_RESPONDER_ISSUER)
    async with parts.store.read() as connection:
        token = TokenSerial((await connection.execute(where)).scalar_one())
    algorithm = RESPONDER_ALGORITHM[KeyAlgorithm(parts.policy.ca_algorithm.value).is_rsa]
    async with parts.intents.making(token) as intent:
        key = await parts.maker.make(token, intent.key_id, LIST_RESPONDER, algorithm, KeyUse.SIGN)
        signer = TokenSigner(parts.pool, token, key.key_id, key.spki)
        builder = HierarchyBuilder(parts.policy, parts.linter)
        certificate = await builder.list_responder_certificate(
            authority, signer.public_key, parts.clock.now()
        )
        serial = serial_hex(certificate.serial_number)
        issued = IssuedCertificate(
            der=certificate.public_bytes(Encoding.DER),
            serial=SerialNumber(certificate.serial_number),
            issuer=authority.name,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
        async with parts.store.transaction() as tx:
            await intent.fulfil(tx)
            await claim(
                tx,
                spki=key.spki,
                holder_kind=HolderKind.CA,
                holder=LIST_RESPONDER,
                token_serial=token,
                key_id=key.key_id,
                level=key.level,
            )
            await pki.record(tx, issued, Recorded(kind="responder", profile="OCSP", level="software"))
            await tx.execute(
                sa.insert(responders).values(
                    name=_NAME,
                    token_serial=token,
                    key_id=key.key_id.hex(),
                    spki=key.spki,
                    certificate_serial=serial,
                )
            )
            tx.journal("responder.certify", f"ocsp:{LIST_RESPONDER}", serial=serial)
    return ListResponder(certificate, signer)
