"""Data objects are written whole and read tolerantly."""

from hypothesis import given
from hypothesis import strategies as st

from cardd.cards.dataobjects import CardFacts, activity_label, is_ours, make_objects, read_objects
from cardd.cards.types import CardSerial, CardType, Holder
from cardd.orders.identifiers import IdentifierKind
from cardd.orders.subjects import Structure
from cardd.orders.types import StructureId
from tests.support.igc import PREPARED

SERIAL = CardSerial("12345678")
STRUCTURE = Structure(StructureId("11B0057881"), IdentifierKind.FINESS, "1B0057881", "HOPITAL", "75014")


def _facts(last_name: str) -> CardFacts:
    return CardFacts(
        serial=SERIAL,
        type=CardType.CPS,
        holder=Holder(
            last_name=last_name, first_name="Zoé", identifier="899700000018", profession=10, title="Médecin"
        ),
        structure=STRUCTURE,
        issued_at=PREPARED,
        opposes_at=PREPARED,
    )


@given(st.text(min_size=1, max_size=64))
def test_what_is_written_is_read_back_on_one_line(last_name: str) -> None:
    last_name = " ".join(last_name.encode(errors="ignore").decode().splitlines())
    objects = {item.label: item.value for item in make_objects(_facts(last_name))}
    view = read_objects(SERIAL, objects, complete=True)
    assert view.last_name == (last_name or None)
    assert (view.first_name, view.profession, view.identity.issuer) == ("Zoé", 10, "8025000001")
    assert [activity.number for activity in view.activities] == [1, 3]


@given(
    st.dictionaries(
        st.sampled_from([item.label for item in make_objects(_facts("A"))]), st.binary(max_size=64)
    )
)
def test_any_bytes_are_read_without_an_error(objects: dict[str, bytes]) -> None:
    assert read_objects(SERIAL, objects, complete=False).serial == SERIAL


def test_only_the_family_s_labels_are_ours() -> None:
    assert is_ours(activity_label(1))
    assert is_ours(activity_label(16))
    assert not is_ours(activity_label(17))
    assert not is_ours("CPS_ACTIVITY_00_PS")
    assert {item.label for item in make_objects(_facts("A")) if item.private} == {
        "CPS_ACTIVITY_01_PS",
        "CPS_ACTIVITY_03_PS",
        "CPS_SIT_FACT",
    }


def _tagged(*values: str) -> bytes:
    return b"".join(
        bytes([0x80 + position, len(value.encode())]) + value.encode()
        for position, value in enumerate(values)
    )


def test_tagged_strings_of_a_card_in_a_reader_are_read_with_gaps_in_the_activities() -> None:
    objects = {
        "CPS_ID_CARD": _tagged("8025000001", SERIAL, "CPS"),
        "CPS_NAME_PS": _tagged("DOC0063", "KIT"),
        "CPS_INFO_PS": _tagged("899700636234", "10"),
        "CPS_LANG_PS": _tagged("fr", "en"),
        "CPS_ACTIVITY_02_PS": _tagged("10B0073160", "HOPITAL", "salaried"),
        "CPS_ACTIVITY_16_PS": _tagged("10B0073161"),
    }
    view = read_objects(SERIAL, objects, complete=True)
    assert (view.identity.serial, view.identity.type) == (SERIAL, "CPS")
    assert (view.last_name, view.first_name, view.identifier) == ("DOC0063", "KIT", "899700636234")
    assert (view.languages, view.profession) == (("fr", "en"), 10)
    assert [(each.number, each.name) for each in view.activities] == [(2, "HOPITAL"), (16, None)]
