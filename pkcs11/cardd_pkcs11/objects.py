"""Objects on a token, through one open session: keys, certificates, data. Synchronous; runs inside a host.

Private keys are made on the token, used and destroyed there. Nothing here wraps, copies, imports or exports one.
"""

from collections.abc import Callable, Iterable
from typing import Any

from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.constants import DEFAULT
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid, FunctionFailed
from pkcs11.types import DecryptMixin, Object, PrivateKey, Session, SignMixin
from pkcs11.util.x509 import decode_x509_certificate, decode_x509_public_key

from cardd_pkcs11 import verification
from cardd_pkcs11.cryptoki import KeyOperation
from cardd_pkcs11.errors import Ckr, MechanismUnavailableError, ObjectNotFoundError, TokenError
from cardd_pkcs11.types import (
    DecryptMechanism,
    KeyAlgorithm,
    KeyAttributes,
    KeyCapabilities,
    KeyId,
    KeyTemplate,
    ObjectInfo,
    ObjectKind,
    SignMechanism,
    Spki,
)

Template = dict[Attribute, Any]

_CLASSES = {
    ObjectKind.PRIVATE_KEY: ObjectClass.PRIVATE_KEY,
    ObjectKind.PUBLIC_KEY: ObjectClass.PUBLIC_KEY,
    ObjectKind.CERTIFICATE: ObjectClass.CERTIFICATE,
    ObjectKind.DATA: ObjectClass.DATA,
}
_CURVE_PARAMETERS = {
    KeyAlgorithm.EC_P256: verification.P256_PARAMETERS,
    KeyAlgorithm.EC_P384: verification.P384_PARAMETERS,
}
_SIGN: dict[SignMechanism, tuple[KeyType, Mechanism, Any]] = {
    SignMechanism.RSA_PKCS: (KeyType.RSA, Mechanism.RSA_PKCS, None),
    SignMechanism.SHA256_RSA_PKCS: (KeyType.RSA, Mechanism.SHA256_RSA_PKCS, None),
    SignMechanism.SHA384_RSA_PKCS: (KeyType.RSA, Mechanism.SHA384_RSA_PKCS, None),
    SignMechanism.SHA512_RSA_PKCS: (KeyType.RSA, Mechanism.SHA512_RSA_PKCS, None),
    SignMechanism.SHA256_RSA_PSS: (
        KeyType.RSA, Mechanism.SHA256_RSA_PKCS_PSS, (Mechanism.SHA256, MGF.SHA256, 32),
    ),
    SignMechanism.ECDSA_SHA256: (KeyType.EC, Mechanism.ECDSA, None),
    SignMechanism.ECDSA_SHA384: (KeyType.EC, Mechanism.ECDSA, None),
    SignMechanism.ECDSA: (KeyType.EC, Mechanism.ECDSA, None),
}  # fmt: skip
_DECRYPT: dict[DecryptMechanism, tuple[Mechanism, Any]] = {
    DecryptMechanism.RSA_PKCS: (Mechanism.RSA_PKCS, None),
    DecryptMechanism.RSA_OAEP_SHA1: (Mechanism.RSA_PKCS_OAEP, (Mechanism.SHA_1, MGF.SHA1, None)),
    DecryptMechanism.RSA_OAEP_SHA256: (Mechanism.RSA_PKCS_OAEP, (Mechanism.SHA256, MGF.SHA256, None)),
}


def find(session: Session, kind: ObjectKind, template: Template) -> list[Object]:
    """Return the visible objects of a kind that match a template."""
    return list(session.get_objects({Attribute.CLASS: _CLASSES[kind], **template}))


def find_private_key(session: Session, key_id: KeyId) -> PrivateKey:
    """Return the private key of that CKA_ID.

    Raises:
        ObjectNotFoundError: none is visible.
    """
    found = find(session, ObjectKind.PRIVATE_KEY, {Attribute.ID: key_id})
    if not found or not isinstance(found[0], PrivateKey):
        raise ObjectNotFoundError(f"no private key {key_id.hex()} is visible on the token")
    return found[0]


def describe(session: Session) -> tuple[ObjectInfo, ...]:
    """List the visible objects of the kinds we know."""
    return tuple(_object_info(kind, found) for kind in ObjectKind for found in find(session, kind, {}))


def generate_key_pair(
    session: Session,
    *,
    key_id: KeyId,
    label: str,
    algorithm: KeyAlgorithm,
    template: KeyTemplate,
    public_use_follows: bool = False,
) -> Spki:
    """Make a key pair on the token (PKCS#11 v2.40 §5.13) and return its public key.

    With `public_use_follows` the public key's CKA_VERIFY and CKA_ENCRYPT are left to the module.

    Raises:
        TokenError: a private key of that CKA_ID exists already.
    """
    if find(session, ObjectKind.PRIVATE_KEY, {Attribute.ID: key_id}):
        raise TokenError(f"a private key {key_id.hex()} exists already on the token")
    options: dict[str, Any] = {
        "id": key_id,
        "label": label,
        "store": True,
        "capabilities": MechanismFlag(0),
        "public_template": _public_template(template, use_follows=public_use_follows),
        "private_template": _private_template(template),
    }
    if algorithm.is_rsa:
        public, _ = session.generate_keypair(KeyType.RSA, algorithm.bits, **options)
    else:
        parameters = session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: _CURVE_PARAMETERS[algorithm]}, local=True
        )
        public, _ = parameters.generate_keypair(**options)
    return _spki(public)


def public_key(session: Session, key_id: KeyId) -> Spki:
    """Read the public key of that CKA_ID, from the certificate beside it where the token keeps no public key.

    Raises:
        ObjectNotFoundError: the token holds neither.
    """
    for found in find(session, ObjectKind.PUBLIC_KEY, {Attribute.ID: key_id}):
        return _spki(found)
    for found in find(session, ObjectKind.CERTIFICATE, {Attribute.ID: key_id}):
        return _certified_spki(found[Attribute.VALUE])
    raise ObjectNotFoundError(f"no public key {key_id.hex()} is on the token")


def key_attributes(key: PrivateKey) -> KeyAttributes:
    """Read a private key's attributes back, one by one, since modules differ in which they know."""
    mechanism = _attribute(key, Attribute.KEY_GEN_MECHANISM)
    return KeyAttributes(
        token=_attribute(key, Attribute.TOKEN),
        private=_attribute(key, Attribute.PRIVATE),
        local=_attribute(key, Attribute.LOCAL),
        sensitive=_attribute(key, Attribute.SENSITIVE),
        always_sensitive=_attribute(key, Attribute.ALWAYS_SENSITIVE),
        extractable=_attribute(key, Attribute.EXTRACTABLE),
        never_extractable=_attribute(key, Attribute.NEVER_EXTRACTABLE),
        copyable=_attribute(key, Attribute.COPYABLE),
        modifiable=_attribute(key, Attribute.MODIFIABLE),
        sign=_attribute(key, Attribute.SIGN),
        sign_recover=_attribute(key, Attribute.SIGN_RECOVER),
        decrypt=_attribute(key, Attribute.DECRYPT),
        wrap=_attribute(key, Attribute.WRAP),
        unwrap=_attribute(key, Attribute.UNWRAP),
        derive=_attribute(key, Attribute.DERIVE),
        key_gen_mechanism=mechanism.name if isinstance(mechanism, Mechanism) else None,
    )


def sign(key: PrivateKey, mechanism: SignMechanism, data: bytes) -> bytes:
    """C_Sign with one key; ECDSA signatures come out as DER.

    Raises:
        MechanismUnavailableError: the key is of another kind, or may not sign.
    """
    kind, cryptoki_mechanism, parameter = _SIGN[mechanism]
    if not isinstance(key, SignMixin):
        raise MechanismUnavailableError("the key may not sign", ckr=Ckr.KEY_FUNCTION_NOT_PERMITTED)
    if key.key_type != kind:
        raise MechanismUnavailableError(
            f"{mechanism} is not a mechanism of this kind of key", ckr=Ckr.KEY_TYPE_INCONSISTENT
        )
    if kind is KeyType.EC:
        raw = key.sign(verification.ecdsa_digest(mechanism, data), mechanism=cryptoki_mechanism)
        return verification.ecdsa_der(raw)
    return key.sign(data, mechanism=cryptoki_mechanism, mechanism_param=parameter)


def decrypt(key: PrivateKey, mechanism: DecryptMechanism, ciphertext: bytes) -> bytes:
    """C_Decrypt with one key.

    Raises:
        MechanismUnavailableError: the key is not RSA, or may not decrypt.
    """
    cryptoki_mechanism, parameter = _DECRYPT[mechanism]
    if not isinstance(key, DecryptMixin) or key.key_type != KeyType.RSA:
        raise MechanismUnavailableError("the key may not decrypt", ckr=Ckr.KEY_FUNCTION_NOT_PERMITTED)
    plaintext = key.decrypt(ciphertext, mechanism=cryptoki_mechanism, mechanism_param=parameter)
    return bytes(plaintext) if isinstance(plaintext, bytes) else b"".join(plaintext)


def capabilities(
    key: PrivateKey, offered: Iterable[Mechanism | int], accepts: Callable[[KeyOperation, int], bool]
) -> KeyCapabilities:
    """Tell what a key can do, given the mechanisms that its slot offers and what it accepts of them."""
    slot = frozenset(offered)
    may_sign, may_decrypt = isinstance(key, SignMixin), isinstance(key, DecryptMixin)
    return KeyCapabilities(
        sign=tuple(
            name for name, (kind, mechanism, _) in _SIGN.items()
            if may_sign and kind == key.key_type and mechanism in slot
            and accepts(KeyOperation.SIGN, mechanism)
        ),
        decrypt=tuple(
            name for name, (mechanism, _) in _DECRYPT.items()
            if may_decrypt and key.key_type == KeyType.RSA and mechanism in slot
            and accepts(KeyOperation.DECRYPT, mechanism)
        ),
    )  # fmt: skip


def store_certificate(session: Session, *, key_id: KeyId, label: str, der: bytes) -> None:
    """Put a certificate beside its key; nothing where the same one is there under the same label.

    CKA_SUBJECT, CKA_ISSUER and CKA_SERIAL_NUMBER are set as readers expect (PKCS#11 v2.40 §4.6.3).
    The new certificate is written before an older one of the same CKA_ID is destroyed.

    Raises:
        TokenError: `der` is not a certificate.
    """
    try:
        template = decode_x509_certificate(der)
    except (ValueError, TypeError):
        raise TokenError(
            "what should be stored is not a certificate", ckr=Ckr.ATTRIBUTE_VALUE_INVALID
        ) from None
    older = find(session, ObjectKind.CERTIFICATE, {Attribute.ID: key_id})
    if any(found[Attribute.VALUE] == der and found[Attribute.LABEL] == label for found in older):
        return
    session.create_object({
        **template,
        Attribute.TOKEN: True, Attribute.PRIVATE: False, Attribute.ID: key_id, Attribute.LABEL: label,
    })  # fmt: skip
    for found in older:
        found.destroy()


def store_data(session: Session, *, application: str, label: str, value: bytes, private: bool) -> None:
    """Put a data object (PKCS#11 v2.40 §4.5); an older one of the same application and label gives way."""
    older = find(session, ObjectKind.DATA, {Attribute.APPLICATION: application, Attribute.LABEL: label})
    if any(found[Attribute.VALUE] == value and found[Attribute.PRIVATE] == private for found in older):
        return
    session.create_object({
        Attribute.CLASS: ObjectClass.DATA,
        Attribute.TOKEN: True, Attribute.PRIVATE: private,
        Attribute.APPLICATION: application, Attribute.LABEL: label, Attribute.VALUE: value,
    })  # fmt: skip
    for found in older:
        found.destroy()


def read_data(session: Session, *, application: str, label: str) -> bytes:
    """Read a data object's value.

    Raises:
        ObjectNotFoundError: none is visible.
    """
    wanted: Template = {Attribute.APPLICATION: application, Attribute.LABEL: label}
    for found in find(session, ObjectKind.DATA, wanted):
        return bytes(found[Attribute.VALUE])
    raise ObjectNotFoundError(f"no data object {application}/{label} is visible on the token")


def destroy(session: Session, *, kinds: Iterable[ObjectKind], key_id: KeyId | None, label: str | None) -> int:
    """Destroy the visible objects of these kinds that bear the CKA_ID and the label; return how many.

    Raises:
        TokenError: neither is named.
    """
    template: Template = {}
    if key_id is not None:
        template[Attribute.ID] = key_id
    if label is not None:
        template[Attribute.LABEL] = label
    if not template:
        raise TokenError("name what to destroy by its identifier or its label", ckr=Ckr.ARGUMENTS_BAD)
    doomed = [found for kind in kinds for found in find(session, kind, template)]
    for found in doomed:
        found.destroy()
    return len(doomed)


def _private_template(template: KeyTemplate) -> Template:
    return {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: template.private,
        Attribute.SENSITIVE: template.sensitive,
        Attribute.EXTRACTABLE: template.extractable,
        Attribute.COPYABLE: template.copyable,
        Attribute.MODIFIABLE: template.modifiable,
        Attribute.SIGN: template.sign,
        Attribute.DECRYPT: template.decrypt,
        Attribute.SIGN_RECOVER: False,
        Attribute.UNWRAP: False,
        Attribute.DERIVE: False,
    }


def _public_template(template: KeyTemplate, *, use_follows: bool) -> Template:
    return {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: False,
        Attribute.MODIFIABLE: template.modifiable,
        Attribute.VERIFY: DEFAULT if use_follows else template.sign,
        Attribute.ENCRYPT: DEFAULT if use_follows else template.decrypt,
        Attribute.WRAP: False,
    }


def _certified_spki(der: bytes) -> Spki:
    try:
        return _spki(decode_x509_public_key(der))
    except (ValueError, TypeError, KeyError):
        raise TokenError("an object on the token is not a certificate of a supported key") from None


def _spki(public: Object | Template) -> Spki:
    if public[Attribute.KEY_TYPE] == KeyType.RSA:
        return verification.rsa_spki(public[Attribute.MODULUS], public[Attribute.PUBLIC_EXPONENT])
    return verification.ec_spki(public[Attribute.EC_PARAMS], public[Attribute.EC_POINT])


def _object_info(kind: ObjectKind, found: Object) -> ObjectInfo:
    is_data, is_certificate = kind is ObjectKind.DATA, kind is ObjectKind.CERTIFICATE
    key_id = None if is_data else _attribute(found, Attribute.ID)
    return ObjectInfo(
        kind=kind,
        label=_attribute(found, Attribute.LABEL) or "",
        key_id=KeyId(bytes(key_id)) if key_id else None,
        private=_attribute(found, Attribute.PRIVATE),
        application=_attribute(found, Attribute.APPLICATION) if is_data else None,
        certificate=_attribute(found, Attribute.VALUE) if is_certificate else None,
    )


def _attribute(found: Object, attribute: Attribute) -> Any:
    try:
        return found[attribute]
    except (AttributeTypeInvalid, AttributeSensitive, FunctionFailed, NotImplementedError, ValueError):
        return None
