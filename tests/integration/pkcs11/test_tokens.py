"""What a token does through its host: PINs, keys, signatures, objects."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import NameOID

from cardd_pkcs11.errors import (
    Ckr,
    MechanismUnavailableError,
    NotLoggedInError,
    ObjectNotFoundError,
    PinIncorrectError,
    PinLengthError,
    SignatureMismatchError,
    TokenError,
    TokenNotFoundError,
)
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import (
    DecryptMechanism,
    KeyAlgorithm,
    KeyId,
    ObjectKind,
    Secret,
    SignMechanism,
    Spki,
    TokenSerial,
)
from tests.support.softhsm import DECRYPTING, KEY_ID, SIGNING, SO_PIN, USER_PIN, new_token, open_pool

EVERYTHING = frozenset(ObjectKind)


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TokenHostPool]:
    async with open_pool(tmp_path) as pool:
        yield pool


@pytest.fixture
async def serial(pool: TokenHostPool) -> TokenSerial:
    serial = await new_token(pool)
    await pool.login(serial, USER_PIN)
    return serial


async def test_a_new_token_is_listed_with_its_label_and_serial(pool: TokenHostPool) -> None:
    serial = await new_token(pool, "structure n° 1")
    [token] = await pool.list_tokens()
    assert (token.serial, token.label, token.logged_in) == (serial, "structure n° 1", False)
    assert token.user_pin.initialised
    assert len(serial) == 16


async def test_a_label_of_more_than_32_bytes_is_refused(pool: TokenHostPool) -> None:
    with pytest.raises(TokenError, match="32 bytes"):
        await pool.init_token("é" * 17, SO_PIN, USER_PIN)
    assert await pool.list_tokens() == ()


async def test_a_wrong_pin_is_refused_and_logs_nobody_in(pool: TokenHostPool) -> None:
    serial = await new_token(pool)
    with pytest.raises(PinIncorrectError) as caught:
        await pool.login(serial, Secret("999999"))
    assert caught.value.ckr is Ckr.PIN_INCORRECT
    assert caught.value.pin is not None
    with pytest.raises(NotLoggedInError):
        await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


async def test_a_wrong_pin_is_never_excused_by_an_earlier_login(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    with pytest.raises(PinIncorrectError):
        await pool.login(serial, Secret("999999"))
    with pytest.raises(NotLoggedInError):
        await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


async def test_a_pin_of_the_wrong_length_never_reaches_the_token(pool: TokenHostPool) -> None:
    serial = await new_token(pool)
    with pytest.raises(PinLengthError) as caught:
        await pool.login(serial, Secret("123"))
    assert caught.value.ckr is None


async def test_a_changed_pin_replaces_the_old_one(pool: TokenHostPool) -> None:
    serial = await new_token(pool)
    with pytest.raises(PinIncorrectError):
        await pool.change_pin(serial, Secret("999999"), Secret("2468"))
    await pool.change_pin(serial, USER_PIN, Secret("2468"))
    with pytest.raises(PinIncorrectError):
        await pool.login(serial, USER_PIN)
    await pool.login(serial, Secret("2468"))


async def test_the_security_officer_can_set_a_new_pin(pool: TokenHostPool) -> None:
    serial = await new_token(pool)
    await pool.init_pin(serial, SO_PIN, Secret("1357"))
    await pool.login(serial, Secret("1357"))


async def test_an_unknown_token_is_not_found(pool: TokenHostPool) -> None:
    with pytest.raises(TokenNotFoundError):
        await pool.list_objects(TokenSerial("ffffffffffffffff"))


async def test_logging_out_hides_private_keys(pool: TokenHostPool, serial: TokenSerial) -> None:
    spki = await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    await pool.logout(serial)
    kinds = {found.kind for found in await pool.list_objects(serial)}
    assert kinds == {ObjectKind.PUBLIC_KEY}
    with pytest.raises(NotLoggedInError):
        await pool.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"x", spki=spki)


async def test_a_key_is_made_on_the_token_and_reads_back_as_asked(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    attributes = await pool.key_attributes(serial, KEY_ID)
    assert attributes.local
    assert attributes.always_sensitive
    assert attributes.never_extractable
    assert attributes.copyable is False
    assert attributes.modifiable is False
    assert (attributes.sign, attributes.decrypt) == (True, False)
    assert attributes.wrap is None
    assert attributes.key_gen_mechanism == "EC_KEY_PAIR_GEN"


async def test_an_identifier_in_use_is_refused(pool: TokenHostPool, serial: TokenSerial) -> None:
    await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    with pytest.raises(TokenError, match="exists already"):
        await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


async def test_every_rsa_mechanism_gives_a_signature_that_others_verify(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    spki = await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.RSA_2048, SIGNING)
    assert await pool.public_key(serial, KEY_ID) == spki
    key = load_der_public_key(spki)
    assert isinstance(key, rsa.RSAPublicKey)
    for mechanism, scheme, digest in (
        (SignMechanism.SHA256_RSA_PKCS, padding.PKCS1v15(), hashes.SHA256()),
        (SignMechanism.SHA384_RSA_PKCS, padding.PKCS1v15(), hashes.SHA384()),
        (SignMechanism.SHA512_RSA_PKCS, padding.PKCS1v15(), hashes.SHA512()),
        (SignMechanism.SHA256_RSA_PSS, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
    ):
        key.verify(await pool.sign(serial, KEY_ID, mechanism, b"data", spki=spki), b"data", scheme, digest)
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(b"data").digest()
    signature = await pool.sign(serial, KEY_ID, SignMechanism.RSA_PKCS, digest_info, spki=spki)
    key.verify(signature, b"data", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384])
async def test_ecdsa_signatures_come_as_der(
    pool: TokenHostPool, serial: TokenSerial, algorithm: KeyAlgorithm
) -> None:
    spki = await pool.generate_key_pair(serial, KEY_ID, "k", algorithm, SIGNING)
    key = load_der_public_key(spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = await pool.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"data", spki=spki)
    key.verify(signature, b"data", ec.ECDSA(hashes.SHA256()))
    signature = await pool.sign(
        serial, KEY_ID, SignMechanism.ECDSA, hashlib.sha384(b"data").digest(), spki=spki
    )
    key.verify(signature, b"data", ec.ECDSA(hashes.SHA384()))


async def test_a_mechanism_of_another_kind_of_key_is_refused(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    spki = await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    with pytest.raises(MechanismUnavailableError):
        await pool.sign(serial, KEY_ID, SignMechanism.SHA256_RSA_PKCS, b"data", spki=spki)
    assert SignMechanism.SHA256_RSA_PKCS not in (await pool.capabilities(serial, KEY_ID)).sign


async def test_a_decryption_key_does_not_sign_but_decrypts(pool: TokenHostPool, serial: TokenSerial) -> None:
    spki = await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.RSA_2048, DECRYPTING)
    with pytest.raises(MechanismUnavailableError) as caught:
        await pool.sign(serial, KEY_ID, SignMechanism.SHA256_RSA_PKCS, b"data", spki=spki)
    assert caught.value.ckr is Ckr.KEY_FUNCTION_NOT_PERMITTED
    capabilities = await pool.capabilities(serial, KEY_ID)
    assert capabilities.sign == ()
    assert capabilities.decrypt == (DecryptMechanism.RSA_PKCS, DecryptMechanism.RSA_OAEP_SHA1)
    key = load_der_public_key(spki)
    assert isinstance(key, rsa.RSAPublicKey)
    ciphertext = key.encrypt(b"hello", padding.PKCS1v15())
    assert await pool.decrypt(serial, KEY_ID, DecryptMechanism.RSA_PKCS, ciphertext) == b"hello"
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - all that SoftHSM does
    assert (
        await pool.decrypt(serial, KEY_ID, DecryptMechanism.RSA_OAEP_SHA1, key.encrypt(b"hello", oaep))
        == b"hello"
    )


async def test_a_signature_that_does_not_match_the_expected_key_is_withheld(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    other = KeyId(b"another key")
    await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    foreign = await pool.generate_key_pair(serial, other, "k", KeyAlgorithm.EC_P256, SIGNING)
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    of_another_kind = Spki(rsa_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    for spki in (foreign, of_another_kind, Spki(b"garbage")):
        with pytest.raises(SignatureMismatchError):
            await pool.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"data", spki=spki)


def _certificate(common_name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


async def test_a_certificate_is_stored_once_and_replaced_by_a_newer(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    first, second = _certificate("one"), _certificate("two")
    for der in (first, first, second):
        await pool.store_certificate(serial, KEY_ID, "my certificate", der)
    [stored] = await pool.list_objects(serial)
    assert stored.kind is ObjectKind.CERTIFICATE
    assert (stored.label, stored.key_id, stored.certificate) == ("my certificate", KEY_ID, second)
    with pytest.raises(TokenError, match="not a certificate"):
        await pool.store_certificate(serial, KEY_ID, "x", b"garbage")


async def test_a_public_key_is_read_from_its_certificate_where_there_is_no_other(
    pool: TokenHostPool, serial: TokenSerial
) -> None:
    der = _certificate("card")
    await pool.store_certificate(serial, KEY_ID, "c", der)
    expected = x509.load_der_x509_certificate(der).public_key()
    spki = expected.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert await pool.public_key(serial, KEY_ID) == spki


async def test_private_data_is_seen_after_login_only(pool: TokenHostPool, serial: TokenSerial) -> None:
    await pool.store_data(serial, "CPS", "CPS_ACTIVITY_01_PS", b"secret", private=True)
    await pool.store_data(serial, "CPS", "CPS_NAME_PS", b"old", private=False)
    await pool.store_data(serial, "CPS", "CPS_NAME_PS", b"new", private=False)
    assert await pool.read_data(serial, "CPS", "CPS_ACTIVITY_01_PS") == b"secret"
    with pytest.raises(ObjectNotFoundError):
        await pool.read_data(serial, "CPS", "absent")
    await pool.logout(serial)
    assert await pool.read_data(serial, "CPS", "CPS_NAME_PS") == b"new"
    with pytest.raises(NotLoggedInError):
        await pool.read_data(serial, "CPS", "CPS_ACTIVITY_01_PS")


async def test_destroyed_objects_are_gone_and_counted(pool: TokenHostPool, serial: TokenSerial) -> None:
    spki = await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    await pool.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"x", spki=spki)
    assert await pool.destroy(serial, kinds=EVERYTHING, key_id=KEY_ID) == 2
    assert await pool.destroy(serial, kinds=EVERYTHING, key_id=KEY_ID) == 0
    with pytest.raises(ObjectNotFoundError):
        await pool.sign(serial, KEY_ID, SignMechanism.ECDSA_SHA256, b"x", spki=spki)
    with pytest.raises(TokenError, match="identifier or its label"):
        await pool.destroy(serial, kinds=EVERYTHING)


async def test_a_forgotten_token_needs_a_new_login(pool: TokenHostPool, serial: TokenSerial) -> None:
    await pool.forget(serial)
    with pytest.raises(NotLoggedInError):
        await pool.generate_key_pair(serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
