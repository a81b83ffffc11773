"""Virtual cards on disk: written whole, for their owner's eyes, and read back as they were."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cardd.clock import SystemClock
from cardd.virtualcard import CardSerial, CardType, KeyRole
from cardd.virtualcard.errors import CardFileError, UnfitKeyError
from cardd.virtualcard.making import GivenCredential, make_card
from cardd.virtualcard.stored import CardFolder
from tests.support.virtualcard import certificate, private_key


def _given(role: KeyRole, key: rsa.RSAPrivateKey | None = None) -> GivenCredential:
    pem = (key or private_key(role)).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    issued = x509.load_der_x509_certificate(certificate(role))
    return GivenCredential(issued.public_bytes(Encoding.PEM), pem)


def test_a_card_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = CardFolder(tmp_path / "cards" / "28006362")
    given = {role: _given(role) for role in (KeyRole.AUTHENTICATION, KeyRole.SIGNATURE)}
    card = make_card(SystemClock(), serial=CardSerial("28006362"), card_type=CardType.CPE, given=given)
    assert not folder.exists
    folder.write(card)
    assert folder.exists
    assert folder.read() == card
    content = folder.load()
    assert content.profile.serial == "28006362"
    assert content.profile.labels.certificate(KeyRole.SIGNATURE) == "Certificat de Signature CPE"
    credential = content.credential(KeyRole.AUTHENTICATION)
    assert credential is not None
    assert credential.certificate == certificate(KeyRole.AUTHENTICATION)


def test_a_card_s_folder_is_its_owner_s_alone_and_shows_no_secret(tmp_path: Path) -> None:
    folder = CardFolder(tmp_path / "card")
    given = {role: _given(role) for role in (KeyRole.AUTHENTICATION, KeyRole.SIGNATURE)}
    card = make_card(SystemClock(), given=given, pin="73519")
    folder.write(card)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    files = list(folder.path.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600]
    assert "73519" not in repr(card)
    assert "PRIVATE KEY" not in repr(card) + repr(card.credentials) + repr(given)


def test_what_is_not_given_is_made_and_self_signed() -> None:
    card = make_card(SystemClock(), given={KeyRole.SIGNATURE: _given(KeyRole.SIGNATURE)})
    made = x509.load_der_x509_certificate(card.credentials[0].certificate)
    made.verify_directly_issued_by(made)
    assert made.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert card.credentials[1].certificate == certificate(KeyRole.SIGNATURE)
    assert len(card.content().credentials) == 2


def test_a_key_that_a_card_could_not_hold_is_refused() -> None:
    other = private_key(KeyRole.SIGNATURE)
    with pytest.raises(UnfitKeyError, match="not that of the certificate"):
        make_card(SystemClock(), given={KeyRole.AUTHENTICATION: _given(KeyRole.AUTHENTICATION, other)})
    long = rsa.generate_private_key(65537, 3072)
    with pytest.raises(UnfitKeyError, match="not RSA of 2048 bits"):
        make_card(SystemClock(), given={KeyRole.AUTHENTICATION: _given(KeyRole.AUTHENTICATION, long)})
    with pytest.raises(UnfitKeyError, match="not PEM"):
        make_card(SystemClock(), given={KeyRole.AUTHENTICATION: GivenCredential(b"", b"")})


def test_a_folder_without_a_card_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    folder = CardFolder(tmp_path)
    with pytest.raises(CardFileError):
        folder.load()
    (tmp_path / "card.json").write_bytes(b'{"serial": ')
    with pytest.raises(CardFileError):
        folder.load()


def test_a_removed_card_leaves_nothing_and_may_be_removed_again(tmp_path: Path) -> None:
    folder = CardFolder(tmp_path / "card")
    given = {role: _given(role) for role in (KeyRole.AUTHENTICATION, KeyRole.SIGNATURE)}
    folder.write(make_card(SystemClock(), given=given))
    folder.remove()
    assert not folder.path.exists()
    folder.remove()
