"""Identifiers, names and addresses: each rule takes what is right as people type it, and says what is wrong."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cardd.orders import identifiers
from cardd.orders.departments import DEPARTMENTS, department_of, state_of
from cardd.orders.identifiers import IdentifierKind, StructureNumber
from cardd.text import Text

DIGITS = st.text("0123456789", min_size=1, max_size=20)


def luhn_completed(body: str) -> str:
    return next(body + digit for digit in "0123456789" if identifiers.has_luhn_digit(body + digit))


@given(st.text("0123456789", min_size=8, max_size=8).filter(lambda body: body.strip("0")))
def test_exactly_one_last_digit_completes_a_siren(body: str) -> None:
    accepted = [digit for digit in "0123456789" if isinstance(identifiers.siren(body + digit), str)]
    assert len(accepted) == 1


@given(st.text("0123456789", min_size=10, max_size=10).filter(lambda body: body.strip("0")), st.data())
def test_one_mistyped_digit_of_an_rpps_number_is_noticed(body: str, data: st.DataObject) -> None:
    number = luhn_completed(body)
    place = data.draw(st.integers(0, 10))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != number[place]]))
    mistyped = number[:place] + digit + number[place + 1 :]
    assert identifiers.rpps(number) == number
    assert isinstance(identifiers.rpps(mistyped), Text)


@pytest.mark.parametrize("typed", ["187 512 751 00020", "18751275100020", "187\u00a0512\u202f751 00020 "])
def test_a_siret_is_taken_with_the_spaces_that_people_type(typed: str) -> None:
    assert identifiers.siret(typed) == "18751275100020"


@pytest.mark.parametrize("number", ["35600000000048", "35600000049837", "35600000009075"])
def test_la_poste_has_its_own_rule(number: str) -> None:
    assert identifiers.siret(number) == number


@pytest.mark.parametrize(
    "number",
    [
        "35600000049838",
        "18751275100021",
        "1875127510002",
        "00000000000000",
        "١٨٧٥١٢٧٥١٠٠٠٢٠",
        "",
        "1875127510002O",
    ],
)
def test_a_wrong_siret_is_refused(number: str) -> None:
    assert isinstance(identifiers.siret(number), Text)


def test_a_siret_whose_siren_is_wrong_is_refused_though_its_own_digit_fits() -> None:
    number = luhn_completed("1875127520002")
    assert identifiers.has_luhn_digit(number)
    assert isinstance(identifiers.siret(number), Text)


@pytest.mark.parametrize("number", ["1B0073160", "0B0057881", "2A0000154", "750712184", "1b 0073160"])
def test_a_finess_is_checked_for_its_digit_where_it_has_one(number: str) -> None:
    assert identifiers.finess(number) == number.replace(" ", "").upper()


@pytest.mark.parametrize("number", ["750712185", "1C0073160", "AB0073160", "75071218", "7507121844"])
def test_a_wrong_finess_is_refused(number: str) -> None:
    assert isinstance(identifiers.finess(number), Text)


@given(st.integers(0, 99_999))
def test_every_test_rpps_number_is_valid(index: int) -> None:
    number = identifiers.make_test_rpps(index)
    assert number.startswith("99700")
    assert identifiers.rpps(number) == number


@pytest.mark.parametrize(
    ("kind", "number", "structure"),
    [
        (IdentifierKind.FINESS, "1B0073160", "11B0073160"),
        (IdentifierKind.SIREN, "187512751", "2187512751"),
        (IdentifierKind.SIRET, "18751275100020", "318751275100020"),
    ],
)
def test_a_structure_is_prefix_and_number_as_in_real_certificates(
    kind: IdentifierKind, number: str, structure: str
) -> None:
    checked = identifiers.structure_number(kind, number)
    assert isinstance(checked, StructureNumber)
    assert checked.structure_id == structure


@pytest.mark.parametrize(
    ("postal_code", "state"),
    [
        ("75013", "Paris (75)"),
        ("20000", "Corse-du-Sud (2A)"),
        ("20137", "Corse-du-Sud (2A)"),
        ("20200", "Haute-Corse (2B)"),
        ("20620", "Haute-Corse (2B)"),
        ("97400", "La Réunion (974)"),
        ("97133", "Saint-Barthélemy (977)"),
        ("98800", "Nouvelle-Calédonie (988)"),
        ("01000", "Ain (01)"),
    ],
)
def test_a_postal_code_gives_the_department(postal_code: str, state: str) -> None:
    assert identifiers.postal_code(postal_code) == postal_code
    assert state_of(postal_code) == state


@pytest.mark.parametrize(
    "code", ["00100", "96000", "99000", "20900", "98000", "7501", "750011", "75 OO1", "2A000"]
)
def test_a_postal_code_outside_france_is_refused(code: str) -> None:
    assert isinstance(identifiers.postal_code(code), Text)


def test_every_department_is_there() -> None:
    assert len(DEPARTMENTS) == 101 - 5 + 13
    metropolitan = {department_of(f"{number:02d}100") for number in range(1, 96)}
    assert None not in metropolitan


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("WWW.Hopital.FR", "www.hopital.fr"),
        (" a.b ", "a.b"),
        ("xn--hpital-0ua.fr", "xn--hpital-0ua.fr"),
        (f"{'a' * 63}.fr", f"{'a' * 63}.fr"),
        ("3com.com", "3com.com"),
    ],
)
def test_an_fqdn_is_lower_cased(typed: str, name: str) -> None:
    assert identifiers.fqdn(typed) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "localhost", "*.example.fr", "www.*.fr", "-a.fr", "a-.fr", "a..fr", ".fr", "a.fr.", "a_b.fr", "hôpital.fr",
        f"{'a' * 64}.fr", ".".join(["a" * 60] * 5), "192.168.1.1", "a.fr/x", "a b.fr", "xn--99999999999.fr", "xn--.fr",
        "ａ.fr", "a.fr\n.b",
    ],
)  # fmt: skip
def test_what_is_no_fqdn_is_refused(name: str) -> None:
    assert isinstance(identifiers.fqdn(name), Text)


@pytest.mark.parametrize("address", ["a@example.fr", "prenom.nom+x@sous.domaine.fr", "o'neil@example.org"])
def test_an_email_address_is_taken(address: str) -> None:
    assert identifiers.email(address) == address


@pytest.mark.parametrize(
    "address",
    ["", "a", "@example.fr", "a@", "a@localhost", ".a@b.fr", "a..b@c.fr", "a b@c.fr", "é@c.fr", "a@b.fr\nBcc: x@y.z",
     f"{'a' * 65}@b.fr", "a@b@c.fr ", '"a"@b.fr', "a,b@c.fr"],
)  # fmt: skip
def test_what_is_no_email_address_is_refused(address: str) -> None:
    assert isinstance(identifiers.email(address), Text)


def test_a_common_name_is_counted_in_bytes() -> None:
    assert identifiers.common_name("é" * 32) == "é" * 32
    assert isinstance(identifiers.common_name("é" * 33), Text)
    assert identifiers.common_name("a" * 64) == "a" * 64
    assert isinstance(identifiers.common_name("a" * 65), Text)


@pytest.mark.parametrize(
    "name", ["a\x00b", "a\nb", "a\tb", "a\x7fb", "\u200b", "a\u202eb", "", "  ", "a\u2028b", "\ud800"]
)
def test_control_characters_and_emptiness_are_refused_in_names(name: str) -> None:
    assert isinstance(identifiers.common_name(name), Text)


def test_spaces_of_a_name_are_made_single_and_its_letters_composed() -> None:
    assert identifiers.name("  e\u0301lan\u00a0 vital ") == "élan vital"


@given(st.text(max_size=80))
@example("\u0344")
def test_whatever_a_name_is_the_accepted_form_is_stable_and_fits_a_dn(typed: str) -> None:
    accepted = identifiers.common_name(typed)
    if isinstance(accepted, str):
        assert identifiers.common_name(accepted) == accepted
        assert accepted == unicodedata.normalize("NFC", accepted.strip())
        assert accepted.isprintable()
        assert 0 < len(accepted.encode()) <= 64


RULES = [
    identifiers.siren, identifiers.siret, identifiers.finess, identifiers.rpps, identifiers.postal_code,
    identifiers.register, identifiers.phone, identifiers.fqdn, identifiers.email, identifiers.line, identifiers.name,
    identifiers.common_name,
]  # fmt: skip


@given(st.text(max_size=300) | DIGITS | st.from_regex(r"[a-z.@-]{0,70}"), st.sampled_from(range(len(RULES))))
def test_every_rule_answers_any_text_and_accepts_what_it_returned(typed: str, index: int) -> None:
    rule = RULES[index]
    accepted = rule(typed)
    if isinstance(accepted, str):
        assert rule(accepted) == accepted
    else:
        assert accepted.en
        assert accepted.fr
