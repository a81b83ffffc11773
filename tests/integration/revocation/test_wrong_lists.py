"""Lists that must not replace the one held, each refused by name; and unusual ones that are right."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.igc import der
from cardd.revocation.errors import ListRefusedError
from cardd.revocation.lists import parse
from cardd.revocation.types import Freshness, Reason, Status
from tests.support.revocation import START, WEEK, Bench, Ca, SigningKey, bench, ec_key, entry, idp

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

HOUR = timedelta(hours=1)


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Bench]:
    """A cache that holds list number 10."""
    async with bench(tmp_path) as found:
        found.server.on("/list.crl", found.ca.crl(5, number=10))
        await found.add("/list.crl")
        yield found


async def _rule(held: Bench, content: bytes) -> str:
    """Return the rule by which a list is refused."""
    held.server.on("/list.crl", content)
    (source,) = held.cache.lists()
    with pytest.raises(ListRefusedError) as caught:
        await held.cache.refresh(source.id)
    assert held.cache.get(source.id).number == 10
    assert held.ask(5).status is Status.REVOKED
    assert held.ask(6).status is Status.GOOD
    return caught.value.rule


async def _take(held: Bench, content: bytes) -> None:
    held.server.on("/list.crl", content)
    (source,) = held.cache.lists()
    await held.cache.refresh(source.id)


async def test_a_lower_number_does_not_replace_a_higher_one(held: Bench) -> None:
    assert await _rule(held, held.ca.crl(number=9, at=START)) == "rollback"


async def test_the_same_number_of_an_earlier_time_is_a_step_back(held: Bench) -> None:
    assert await _rule(held, held.ca.crl(number=10, at=START - HOUR)) == "rollback"


async def test_a_list_without_number_does_not_replace_one_with(held: Bench) -> None:
    assert await _rule(held, held.ca.crl(number=None)) == "rollback"


async def test_a_list_of_the_future_is_refused(held: Bench) -> None:
    assert await _rule(held, held.ca.crl(number=11, at=START + HOUR)) == "future"


async def test_a_publishers_clock_may_be_a_minute_ahead(held: Bench) -> None:
    await _take(held, held.ca.crl(number=11, at=START + timedelta(minutes=1)))


async def test_a_list_whose_end_is_past_does_not_replace_one_in_force(held: Bench) -> None:
    assert await _rule(held, held.ca.crl(number=11, at=START - 2 * WEEK)) == "expired"


async def test_a_list_signed_by_another_ca_of_the_same_name_is_refused(held: Bench) -> None:
    other = Ca(key=ec_key(1))
    assert await _rule(held, other.crl(number=11)) == "key_identifier"
    disguised = other.crl(number=11, aki=ec_key().public_key())
    assert await _rule(held, disguised) == "signature"


async def test_a_list_signed_with_the_cas_previous_key_is_refused_under_its_new_one(tmp_path: Path) -> None:
    before, after = Ca(key=ec_key(2)), Ca(key=ec_key(3))
    async with bench(tmp_path) as found:
        found.server.on("/list.crl", before.crl(5))
        view = await found.add("/list.crl", ca=after)
        assert (view.state, view.last_error_code) == (Freshness.UNAVAILABLE, "key_identifier")
        found.server.on("/list.crl", before.crl(5, aki=ec_key(3).public_key()))
        with pytest.raises(ListRefusedError) as caught:
            await found.cache.refresh(view.id)
        assert caught.value.rule == "signature"
        assert found.ask(5, after).status is Status.UNKNOWN


async def test_a_list_of_another_ca_is_refused(held: Bench) -> None:
    assert await _rule(held, Ca("OTHER CA").crl(number=11)) == "issuer"


async def test_a_wrong_authority_key_identifier_is_refused(held: Bench) -> None:
    assert await _rule(held, held.ca.crl(number=11, aki=ec_key(1).public_key())) == "key_identifier"


async def test_an_altered_list_is_refused(held: Bench) -> None:
    content = bytearray(held.ca.crl(5, 77, number=11))
    content[content.index(bytes([2, 1, 77])) + 2] = 78
    assert await _rule(held, bytes(content)) == "signature"


async def test_a_ca_that_may_not_sign_lists_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path) as found:
        ca = Ca(crl_sign=False)
        found.server.on("/list.crl", ca.crl())
        view = await found.add("/list.crl", ca=ca)
        assert (view.state, view.last_error_code) == (Freshness.UNAVAILABLE, "key_usage")
        assert found.ask(1, ca).status is Status.UNKNOWN


async def test_an_unknown_critical_extension_is_refused(held: Bench) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    assert await _rule(held, held.ca.crl(number=11, extensions=[(unknown, True)])) == "critical_extension"
    await _take(held, held.ca.crl(5, number=11, extensions=[(unknown, False)]))


async def test_an_unknown_critical_extension_of_an_entry_is_refused(held: Bench) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    builder = x509.RevokedCertificateBuilder(7, START).add_extension(unknown, critical=True)
    assert await _rule(held, held.ca.crl(number=11, entries=[builder.build()])) == "critical_entry_extension"


async def test_a_delta_is_not_taken_for_a_complete_list(held: Bench) -> None:
    assert await _rule(held, held.ca.crl(6, number=11, base=10)) == "delta_as_complete"


async def test_remove_from_crl_lifts_nothing_in_a_complete_list(held: Bench) -> None:
    removed = entry(7, x509.CRLReason(x509.ReasonFlags.remove_from_crl))
    await _take(held, held.ca.crl(number=11, entries=[removed]))
    assert held.ask(7).status is Status.REVOKED


async def test_duplicate_serials_long_serials_and_high_bits_are_kept_apart(held: Bench) -> None:
    longest, high = (1 << 159) - 1, 0x80
    first = entry(7, x509.CRLReason(x509.ReasonFlags.key_compromise))
    second = entry(7, x509.CRLReason(x509.ReasonFlags.superseded))
    await _take(held, held.ca.crl(longest, high, 0xFFFF, number=11, entries=[first, second]))
    assert held.ask(7).reason is Reason.KEY_COMPROMISE
    for serial in (longest, high, 0xFFFF):
        assert held.ask(serial).status is Status.REVOKED
    for serial in (longest - 1, 0x00, -128, 0x8000, 0xFF, -1):
        assert held.ask(serial).status is Status.GOOD


async def test_a_negative_serial_is_not_the_positive_one_of_the_same_bits(held: Bench) -> None:
    content = held.ca.crl(0x7F, number=11)
    at = content.index(bytes([2, 1, 0x7F]))
    altered = bytearray(content)
    altered[at + 2] = 0xFF
    resigned = _resigned(held.ca, bytes(altered))
    await _take(held, resigned)
    assert held.ask(-1).status is Status.REVOKED
    assert held.ask(255).status is Status.GOOD


async def test_an_empty_list_makes_every_serial_good(held: Bench) -> None:
    await _take(held, held.ca.crl(number=11))
    assert held.ask(5).status is Status.GOOD


async def test_pem_where_der_is_due_is_taken_and_noted(held: Bench) -> None:
    pem = x509.load_der_x509_crl(held.ca.crl(6, number=11)).public_bytes(Encoding.PEM)
    await _take(held, b"some text before\n" + pem)
    (source,) = held.cache.lists()
    assert source.notes == ("pem",)
    assert x509.load_der_x509_crl(held.cache.file(source.id).read_bytes()) == x509.load_pem_x509_crl(pem)


async def test_a_list_without_next_update_is_not_valid_for_ever(held: Bench) -> None:
    await _take(held, _without_next_update(held.ca, 11))
    (source,) = held.cache.lists()
    assert source.next_update is None
    assert held.ask(6).freshness is Freshness.FRESH
    held.clock.advance(timedelta(hours=25))
    assert held.ask(6).freshness is Freshness.EXPIRED
    assert held.ask(6).status is Status.UNKNOWN


@pytest.mark.parametrize("kind", ["rsa", "pss", "p256", "p384", "ed25519", "ed448"])
async def test_every_signature_algorithm_in_use_is_verified(tmp_path: Path, kind: str) -> None:
    keys: dict[str, Callable[[], SigningKey]] = {
        "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "pss": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "p256": ec_key,
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
    }
    ca = Ca(key=keys[kind]())
    async with bench(tmp_path) as found:
        found.server.on("/list.crl", ca.crl(5, pss=kind == "pss"))
        assert (await found.add("/list.crl", ca=ca)).state is Freshness.FRESH
        altered = bytearray(ca.crl(5, 77, number=2, pss=kind == "pss"))
        altered[altered.index(bytes([2, 1, 77])) + 2] = 78
        found.server.on("/list.crl", bytes(altered))
        (source,) = found.cache.lists()
        with pytest.raises(ListRefusedError) as caught:
            await found.cache.refresh(source.id)
        assert caught.value.rule == "signature"


async def test_a_delta_adds_lifts_and_is_checked_against_its_base(tmp_path: Path) -> None:
    async with bench(tmp_path) as found:
        ca, deltas = found.ca, (found.server.base + "/delta.crl",)
        hold = entry(8, x509.CRLReason(x509.ReasonFlags.certificate_hold))
        found.server.on("/list.crl", ca.crl(5, number=10, entries=[hold]))
        lifted = entry(8, x509.CRLReason(x509.ReasonFlags.remove_from_crl))
        found.server.on("/delta.crl", ca.crl(6, number=12, base=10, entries=[lifted], validity=HOUR))
        view = await found.add("/list.crl", delta_urls=deltas)
        assert (view.number, view.delta_number, view.last_error) == (10, 12, None)
        states = {serial: found.ask(serial).status for serial in (5, 6, 7, 8)}
        assert states == {5: "revoked", 6: "revoked", 7: "good", 8: "good"}

        for content, rule in (
            (ca.crl(number=13, base=11), "delta_base"),
            (ca.crl(number=11, base=10), "rollback"),
            (ca.crl(number=13), "complete_as_delta"),
            (ca.crl(number=13, base=10, at=START - 2 * WEEK), "expired"),
            (ca.crl(number=13, base=10, extensions=[idp(only_contains_user_certs=True)]), "delta_scope"),
            (ca.crl(number=13, base=10, aki=ec_key(1).public_key()), "key_identifier"),
        ):
            found.server.on("/delta.crl", content)
            view = await found.cache.refresh(view.id)
            assert (view.delta_number, view.last_error_code) == (12, rule)
            assert found.ask(6).status is Status.REVOKED

        found.clock.advance(HOUR)
        assert found.ask(8).status is Status.REVOKED, "an expired delta lifts nothing"
        assert found.ask(6).status is Status.REVOKED
        assert found.ask(7).freshness is Freshness.STALE


async def test_a_new_base_drops_a_delta_that_no_longer_fits(tmp_path: Path) -> None:
    async with bench(tmp_path) as found:
        ca, deltas = found.ca, (found.server.base + "/delta.crl",)
        found.server.on("/list.crl", ca.crl(number=10))
        found.server.on("/delta.crl", ca.crl(6, number=12, base=10))
        view = await found.add("/list.crl", delta_urls=deltas)
        found.server.on("/list.crl", ca.crl(7, number=20))
        found.server.on("/delta.crl", b"<html>")
        view = await found.cache.refresh(view.id)
        assert (view.number, view.delta_number) == (20, None)
        assert found.ask(6).status is Status.GOOD


def _resigned(ca: Ca, content: bytes) -> bytes:
    """Sign an altered list anew."""
    return _signed(ca, bytes(parse(content).tbs))


def _signed(ca: Ca, tbs: bytes) -> bytes:
    assert isinstance(ca.key, ec.EllipticCurvePrivateKey)
    signature = ca.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300A06082A8648CE3D040302")
    return der.sequence(tbs, algorithm, der.tlv(der.TAG_BIT_STRING, b"\x00", signature))


def _without_next_update(ca: Ca, number: int) -> bytes:
    tbs = bytes(parse(ca.crl(5, number=number)).tbs)
    header = 2 if tbs[1] < 0x80 else 2 + (tbs[1] & 0x7F)
    return _signed(ca, der.sequence(tbs[header:].replace(der.time(START + WEEK), b"", 1)))
