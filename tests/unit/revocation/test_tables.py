"""The table of a list's entries finds what the library finds, whatever the list."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardd.revocation.elements import sequence
from cardd.revocation.entries import REASONS, REMOVE_FROM_CRL, VALUE_UNIT, decode_value
from cardd.revocation.errors import ListRefusedError
from cardd.revocation.lists import ParsedList, facts_of, parse
from cardd.revocation.names import issuer_prefix
from cardd.revocation.scanning import scan
from cardd.revocation.tablemaking import make_table
from cardd.revocation.tables import EntryTable
from cardd.revocation.types import Reason
from tests.support.revocation import START, Ca, entry, idp, name

CA = Ca()
OTHERS = (name("FIRST"), name("SECOND"))

serials = st.one_of(st.integers(1, 300), st.integers(1, 2**159), st.integers(2**152, 2**160 - 1))
moments = st.datetimes(
    datetime(1950, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001 (hypothesis adds the zone)
).map(lambda moment: moment.replace(microsecond=0))  # fmt: skip
reasons = st.sampled_from([None, *(flag for flag in x509.ReasonFlags)])
Row = tuple[int, datetime, x509.ReasonFlags | None, datetime | None]
rows = st.tuples(serials, moments, reasons, st.none() | moments)


def _revoked(row: Row, issuer: x509.Name | None = None) -> x509.RevokedCertificate:
    serial, moment, reason, invalid_since = row
    extensions: list[x509.ExtensionType] = []
    if reason is not None:
        extensions.append(x509.CRLReason(reason))
    if invalid_since is not None:
        extensions.append(x509.InvalidityDate(invalid_since))
    if issuer is not None:
        extensions.append(x509.CertificateIssuer([x509.DirectoryName(issuer)]))
    return entry(serial, *extensions, at=moment)


def _table(content: bytes) -> EntryTable:
    parsed = parse(content)
    indirect = facts_of(parsed, 0).scope.indirect
    return EntryTable(make_table(scan(parsed, issuer_prefix(parsed.head.issuer) if indirect else None)))


def _read_by_library(revoked: x509.RevokedCertificate) -> tuple[str, datetime]:
    try:
        reason = revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
    except x509.ExtensionNotFound:
        reason = "unspecified"
    return reason, revoked.revocation_date_utc


def _winners(entries: Sequence[x509.RevokedCertificate]) -> dict[int, x509.RevokedCertificate]:
    """Return the entry that counts for each serial: the first that revokes, else the last."""
    found: dict[int, x509.RevokedCertificate] = {}
    for each in entries:
        known = found.get(each.serial_number)
        if known is None or _read_by_library(known)[0] == "remove_from_crl":
            found[each.serial_number] = each
    return found


@given(
    given_rows=st.lists(rows, max_size=40), others=st.lists(serials, max_size=20), base=st.none() | st.just(1)
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_table_holds_what_the_library_reads(
    given_rows: list[Row], others: list[int], base: int | None
) -> None:
    content = CA.crl(number=2, base=base, entries=[_revoked(row) for row in given_rows])
    table, expected = _table(content), _winners(list(x509.load_der_x509_crl(content)))
    for serial in {*expected, *others}:
        value = table.find(serial, b"")
        if serial not in expected:
            assert value is None
        else:
            assert value is not None
            reason, moment = decode_value(value)
            assert (reason.value, moment) == _read_by_library(expected[serial])


@given(given_rows=st.lists(st.tuples(rows, st.sampled_from([None, *OTHERS])), max_size=20))
@settings(max_examples=30, deadline=None)
def test_an_indirect_table_tells_the_same_serials_of_several_issuers_apart(
    given_rows: list[tuple[Row, x509.Name | None]],
) -> None:
    entries = [_revoked(row, issuer) for row, issuer in given_rows]
    content = CA.crl(number=2, entries=entries, extensions=[idp(indirect_crl=True)])
    table, issuer = _table(content), name(CA.common_name)
    expected: dict[tuple[x509.Name, int], tuple[str, datetime]] = {}
    for each, (_, named) in zip(x509.load_der_x509_crl(content), given_rows, strict=True):
        issuer = named or issuer
        read = _read_by_library(each)
        known = expected.get((issuer, each.serial_number))
        if known is None or known[0] == "remove_from_crl":
            expected[issuer, each.serial_number] = read
    for asked in (name(CA.common_name), *OTHERS):
        for serial in {row[0] for row, _ in given_rows}:
            value = table.find(serial, issuer_prefix(asked))
            found = None if value is None else decode_value(value)
            assert (None if found is None else (found[0].value, found[1])) == expected.get((asked, serial))


def test_a_large_list_of_many_forms_is_read_whole() -> None:
    moment = START - timedelta(days=2)
    entries = [
        entry(
            serial,
            *([x509.CRLReason(x509.ReasonFlags.superseded)] if serial % 3 else []),
            *(
                [x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x" * 150)]
                if serial % 97 == 0
                else []
            ),
            at=moment,
        )
        for serial in range(1, 12_001)
    ]
    table = _table(CA.crl(number=1, entries=entries))
    for serial in range(1, 12_001):
        value = table.find(serial, b"")
        assert value is not None
        assert decode_value(value) == (Reason.SUPERSEDED if serial % 3 else Reason.UNSPECIFIED, moment)
    assert table.find(12_001, b"") is None
    assert table.find(0, b"") is None


def test_a_serial_that_looks_like_an_entry_hides_nothing() -> None:
    disguised = int.from_bytes(bytes.fromhex("301502011100170D323630313031303030303030"), "big")
    decoys = [int.from_bytes(bytes.fromhex("3003020101"), "big") + (number << 64) for number in range(500)]
    table = _table(CA.crl(disguised, *decoys, number=1))
    assert all(table.find(serial, b"") is not None for serial in (disguised, *decoys))
    assert table.find(0x11, b"") is None


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        ("020105 170D 323630323330303030303030 5A", "30 February"),
        ("020105 170D 323631333031303030303030 5A", "month 13"),
        ("020105 170D 323630313031323430303030 5A", "hour 24"),
        ("020105 170D 323630313031303030303630 5A", "second 60"),
        ("020105 170D 32363031303130303030303A 5A", "a digit that is none"),
        ("020105 170D 323630313031303030303030 58", "no Z"),
        ("020105 180F 3030303030313031303030303030 5A", "year 0"),
        ("0200 170D 323630313031303030303030 5A", "no serial"),
        ("020105 170C 3236303130313030303030 5A", "a short time"),
        ("020105", "no time"),
    ],
)
def test_an_entry_that_is_not_valid_refuses_its_list(contents: str, why: str) -> None:
    assert why
    model = parse(CA.crl(5, number=1))
    body = sequence(bytes.fromhex(contents))
    damaged = ParsedList(bytes(40) + body + bytes(20), b"", model.head, (40, 40 + len(body)), was_pem=False)
    with pytest.raises(ListRefusedError) as refusal:
        scan(damaged, None)
    assert refusal.value.rule == "malformed"


def test_what_is_not_a_table_is_told_apart() -> None:
    table = bytes(make_table(scan(parse(CA.crl(5, number=1)), None)))
    for damaged in (b"", table[:-1], b"cdt0" + table[4:], table + b"x"):
        with pytest.raises(ValueError, match="table"):
            EntryTable(memoryview(damaged))


def test_a_value_holds_reason_and_moment() -> None:
    value = int(START.timestamp()) * VALUE_UNIT + REMOVE_FROM_CRL
    assert decode_value(value) == (REASONS[REMOVE_FROM_CRL], START)
