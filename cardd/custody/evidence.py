"""Where a key was made, signed: public key, token, module, machine, level, attributes read back, and time.

A statement is a JWS in compact form (RFC 7515) with EdDSA (RFC 8037), signed by the instance key. That key is made at
the first start and sealed to this state and this machine (`cardd.custody.seal`); its public half lies beside it
(`instance.pem`), so that a statement can be checked anywhere, without a daemon, and in the database, so that each
machine of those that share it answers with the statements of all. A statement says what this daemon read
from the module. It is worth as much as the machine that made it: it is not the attestation of a hardware maker.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from cardd.clock import Clock
from cardd.custody.keys import MadeKey
from cardd.custody.registry import spki_hash
from cardd.custody.seal import Sealer, write_secret
from cardd.custody.types import INSTANCE_PEM, EvidenceView, KeyStatement
from cardd.errors import CarddError, NotFoundError
from cardd.store import Store
from cardd.store.tables import instance_keys, key_evidence
from cardd.text import Text
from cardd_pkcs11.types import TokenSerial

_KEY_FILE = "instance.key"
_PURPOSE = "instance key"
_TYPE = "cardd-key-evidence+jws"
_KIND = Text("statement of evidence for the key", "attestation de la clé")


class EvidenceInvalidError(CarddError):
    """A statement of evidence is not one, was changed, or is another instance's."""

    code = "evidence_invalid"
    status = 422
    title = Text("The statement of evidence is not valid", "L’attestation n’est pas valide")
    default_advice = Text(
        "Check it with the public key of the instance that made it (`instance.pem` in its state directory).",
        "Vérifiez-la avec la clé publique de l’instance qui l’a produite (`instance.pem` de son état).",
    )


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    alg: Literal["EdDSA"] = "EdDSA"
    typ: str = _TYPE
    kid: str


class InstanceKey:
    """The key that speaks for this daemon's state on this machine."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key()

    @property
    def id(self) -> str:
        """Hash of the SubjectPublicKeyInfo."""
        return instance_id(self.public_key)

    @property
    def pem(self) -> str:
        """The public half."""
        return self.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def raw(self) -> bytes:
        """Return the private half, for an encrypted backup."""
        return _raw(self._key)

    def sign(self, statement: KeyStatement) -> str:
        """Return the statement as a JWS."""
        header = _encoded(msgspec.json.encode(_Header(kid=self.id)))
        signed = f"{header}.{_encoded(msgspec.json.encode(statement))}"
        return f"{signed}.{_encoded(self._key.sign(signed.encode('ascii')))}"


def open_instance_key(state: Path, sealer: Sealer) -> InstanceKey:
    """Return the instance key of a state directory, made at the first call; file work: call it in a thread.

    Raises:
        SealBrokenError: it was sealed by another state or on another machine.
    """
    path = state / _KEY_FILE
    if not path.is_file():
        reseal_instance_key(state, sealer, _raw(Ed25519PrivateKey.generate()))
    key = InstanceKey(Ed25519PrivateKey.from_private_bytes(sealer.open(path.read_bytes(), _PURPOSE)))
    public = state / INSTANCE_PEM
    if not public.is_file() or public.read_text("ascii") != key.pem:
        write_secret(public, key.pem.encode("ascii"))
        public.chmod(0o644)
    return key


def reseal_instance_key(state: Path, sealer: Sealer, raw: bytes) -> None:
    """Put an instance key (32 bytes, as `InstanceKey.raw` gives it) into a state directory, sealed to it."""
    write_secret(state / _KEY_FILE, sealer.seal(raw, _PURPOSE))


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


class Evidence:
    """Makes and keeps the statements of keys; `module_of` names the module that holds a token."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        key: InstanceKey,
        sealer: Sealer,
        module_of: Callable[[TokenSerial], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._key = key
        self._sealer = sealer
        self._module_of = module_of

    @property
    def instance(self) -> str:
        """Hash that names this instance."""
        return self._key.id

    def state(self, key: MadeKey) -> str:
        """Return a statement about a key as it was read just now."""
        statement = KeyStatement(
            instance=self._key.id,
            spki_sha256=spki_hash(key.spki),
            algorithm=key.algorithm,
            key_id=key.key_id.hex(),
            token_serial=key.token_serial,
            module=self._module_of(key.token_serial),
            machine=self._sealer.machine,
            machine_bound=self._sealer.binds_machine,
            level=key.level,
            attributes=key.attributes,
            at=self._clock.now().replace(microsecond=0),
        )
        return self._key.sign(statement)

    async def announce(self) -> None:
        """Let whoever shares the database check what this instance signs."""
        known = sa.select(instance_keys.c.id).where(instance_keys.c.id == self._key.id)
        async with self._store.transaction() as tx:
            if (await tx.execute(known)).first() is None:
                values = {"id": self._key.id, "public_key": self._key.pem, "noted_at": tx.now}
                await tx.execute(sa.insert(instance_keys).values(**values))

    async def witness(self, key: MadeKey) -> None:
        """Keep the statement of a key that was just made."""
        statement = await asyncio.to_thread(self.state, key)
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.insert(key_evidence).values(
                    spki_sha256=spki_hash(key.spki), statement=statement, made_at=tx.now
                )
            )

    async def get(self, spki_sha256: str) -> EvidenceView:
        """Return the statement made with a key, on this machine or another that shares the database.

        Raises:
            NotFoundError: no instance made such a key.
            EvidenceInvalidError: the statement is of no instance that is known, or was changed.
        """
        wanted = sa.select(key_evidence.c.statement).where(key_evidence.c.spki_sha256 == spki_sha256)
        async with self._store.read() as connection:
            found = (await connection.execute(wanted)).scalar()
            if found is None:
                raise NotFoundError.of(_KIND, spki_sha256)
            signer = sa.select(instance_keys.c.public_key).where(instance_keys.c.id == signer_of(found))
            pem = (await connection.execute(signer)).scalar() or self._key.pem
        return EvidenceView(
            statement=verify(found, read_instance_key(pem.encode())), jws=found, instance_key=pem
        )


def signer_of(jws: str) -> str:
    """Return which instance a statement says that it is of; nothing is checked."""
    try:
        return msgspec.json.decode(_decoded(jws.partition(".")[0]), type=_Header).kid
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        return ""


def verify(jws: str, instance_key: Ed25519PublicKey) -> KeyStatement:
    """Check a statement with the key of the instance that is believed.

    Raises:
        EvidenceInvalidError: it is not that instance's, or was changed.
    """
    try:
        header, payload, signature = jws.strip().split(".")
        instance_key.verify(_decoded(signature), f"{header}.{payload}".encode("ascii"))
        known = msgspec.json.decode(_decoded(header), type=_Header)
        statement = msgspec.json.decode(_decoded(payload), type=KeyStatement)
    except (InvalidSignature, ValueError, binascii.Error, msgspec.MsgspecError):
        raise EvidenceInvalidError(
            Text(
                "Its signature is not by this instance key, or it was changed.",
                "Sa signature n’est pas de cette clé d’instance, ou elle a été modifiée.",
            )
        ) from None
    if known.typ != _TYPE or statement.instance != instance_id(instance_key):
        raise EvidenceInvalidError(
            Text("It is a statement of another kind.", "C’est une attestation d’une autre nature.")
        )
    return statement


def read_instance_key(pem: bytes) -> Ed25519PublicKey:
    """Read the public half of an instance key.

    Raises:
        EvidenceInvalidError: it is not one.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceInvalidError(
            Text("The public key is not an instance key.", "La clé publique n’est pas une clé d’instance.")
        )
    return key


def instance_id(key: Ed25519PublicKey) -> str:
    """Return the hash that names an instance."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
