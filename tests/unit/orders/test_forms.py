"""Order forms: every fault at once, and what is accepted can be certified."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.errors import InvalidFieldsError
from cardd.igc.names import subject_name
from cardd.orders.forms import check_order
from cardd.orders.identifiers import make_test_rpps
from cardd.orders.offers import OFFERS
from cardd.orders.subjects import Structure, common_name_of, subject_of
from cardd.orders.types import KeyRequest, Offer, OrderRequest, Person
from cardd.vocabulary import Usage
from tests.support.orders import FINESS, SIRET, STRUCTURE, csr_key, order_request


def faults(request: OrderRequest) -> set[str]:
    with pytest.raises(InvalidFieldsError) as caught:
        check_order(request)
    return {problem.field for problem in caught.value.fields}


def test_every_fault_is_named_at_once() -> None:
    request = order_request(
        structure="11B007316X",
        service="a\x00b",
        email="x@example.fr",
        contacts=("no address", "a@example.fr", "b@"),
        key=KeyRequest(source="csr", token="t", algorithm="dsa_1024"),
    )
    assert faults(request) == {
        "structure", "service", "email", "contacts.0", "contacts.2", "key.algorithm", "key.csr", "key.token",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"usage": Usage.SSL_SERV}, "usage"),
        ({"service": None}, "service"),
        ({"service": ""}, "service"),
        ({"service": "x" * 65}, "service"),
        ({"contacts": ()}, "contacts"),
        ({"fqdn": ("a.fr",)}, "fqdn"),
        ({"person": Person(last_name="A", first_name="B")}, "person"),
        ({"structure": "0" + FINESS}, "structure"),
        ({"structure": ""}, "structure"),
        ({"key": KeyRequest(source="csr")}, "key.csr"),
        ({"key": KeyRequest(csr="x")}, "key.csr"),
        ({"usage": Usage.CONF, "key": KeyRequest(algorithm="ec_p256")}, "key.algorithm"),
        ({"offer": Offer.SERV, "usage": Usage.SSL_SERV, "service": None}, "fqdn"),
        (
            {"offer": Offer.SERV, "usage": Usage.SSL_SERV, "service": None, "fqdn": ("a.fr", "*.b.fr")},
            "fqdn.1",
        ),
        (
            {"offer": Offer.SERV, "usage": Usage.SSL_SERV, "service": None, "fqdn": (f"{'a' * 63}.fr",)},
            "fqdn.0",
        ),
        ({"offer": Offer.SERV, "usage": Usage.SMIME, "service": None, "email": f"{'a' * 60}@b.fr"}, "email"),
    ],
)
def test_a_fault_is_named_by_its_field(changes: dict[str, object], field: str) -> None:
    assert faults(order_request(**changes)) == {field}


def test_a_person_needs_what_its_offer_asks_and_nothing_else() -> None:
    person = Person(last_name="A", first_name="B", rpps="99700000006", register="R1")
    professional = order_request(offer=Offer.PS, service=None, person=person)
    assert faults(professional) == {"person.rpps", "person.profession", "person.register"}
    member = order_request(
        offer=Offer.PRO, service=None, person=msgspec.structs.replace(person, profession=10)
    )
    assert faults(member) == {"person.rpps", "person.profession"}


def test_an_unknown_profession_is_refused() -> None:
    person = Person(last_name="A", first_name="B", rpps=make_test_rpps(1), profession=11)
    assert faults(order_request(offer=Offer.PS, service=None, person=person)) == {"person.profession"}


def test_names_are_lower_cased_and_the_same_one_counts_once() -> None:
    checked = check_order(
        order_request(
            offer=Offer.SERV,
            usage=Usage.SSL_SERV,
            service=None,
            fqdn=("WWW.Example.fr", "b.fr", "www.example.fr"),
            contacts=("a@Example.FR", "a@example.fr"),
        )
    )
    assert checked.fields.fqdn == ("www.example.fr", "b.fr")
    assert checked.contacts == ("a@example.fr",)


@pytest.mark.parametrize(
    ("structure", "common_name"),
    [
        (STRUCTURE, f"3{FINESS}/CPET0002"),
        ("2187512751", "4187512751/CPET0002"),
        (f"3{SIRET}", f"5{SIRET}/CPET0002"),
    ],
)
def test_a_person_of_a_structure_is_named_by_its_register(structure: str, common_name: str) -> None:
    person = Person(last_name="A", first_name="B", register="CPET0002")
    checked = check_order(order_request(offer=Offer.PRO, service=None, structure=structure, person=person))
    assert common_name_of(checked.structure, checked.fields) == common_name


def test_a_health_professional_is_named_by_8_and_the_rpps_number() -> None:
    person = Person(last_name="A", first_name="B", rpps="997 0000 0005", profession=60)
    checked = check_order(order_request(offer=Offer.PS, service=None, person=person))
    assert common_name_of(checked.structure, checked.fields) == "8" + make_test_rpps(0)


TEXTS = st.text(max_size=70) | st.sampled_from(
    ["EMA", "WWW.EXAMPLE.FR", "a@example.fr", "9970 0000 008", "CPET0002"]
)
PERSONS = st.builds(
    Person,
    last_name=TEXTS,
    first_name=TEXTS,
    rpps=st.none() | st.builds(make_test_rpps, st.integers(0, 99_999)),
    profession=st.none() | st.sampled_from([10, 11, 60]),
    register=st.none() | TEXTS,
)
REQUESTS = st.builds(
    order_request,
    offer=st.sampled_from(list(OFFERS)),
    usage=st.sampled_from(list(Usage)),
    service=st.none() | TEXTS,
    fqdn=st.lists(TEXTS, max_size=2).map(tuple),
    email=st.none() | TEXTS,
    person=st.none() | PERSONS,
    contacts=st.lists(TEXTS, max_size=2).map(tuple),
    key=st.builds(KeyRequest, algorithm=st.none() | st.sampled_from(["rsa_2048", "ec_p256"]))
    | st.just(csr_key("x")),
)
FITTING = st.one_of(
    st.builds(order_request, usage=st.sampled_from([Usage.AUTH_CLI, Usage.SIGN]), service=TEXTS),
    st.builds(
        order_request,
        offer=st.just(Offer.PS),
        service=st.none(),
        person=st.builds(
            Person,
            last_name=TEXTS,
            first_name=TEXTS,
            rpps=st.builds(make_test_rpps, st.integers(0, 99_999)),
            profession=st.just(10),
        ),
    ),
    st.builds(
        order_request,
        offer=st.just(Offer.PRO),
        service=st.none(),
        person=st.builds(Person, last_name=TEXTS, first_name=TEXTS, register=TEXTS),
    ),
    st.builds(
        order_request, offer=st.just(Offer.SERV), usage=st.just(Usage.SMIME), service=st.none(), email=TEXTS
    ),
)


@given(REQUESTS | FITTING)
def test_a_form_is_refused_by_its_fields_or_its_subject_can_be_certified(request_: OrderRequest) -> None:
    try:
        checked = check_order(request_)
    except InvalidFieldsError:
        return
    number = checked.structure
    structure = Structure(
        id=number.structure_id, kind=number.kind, number=number.number, name="HOPITAL", postal_code="75001"
    )
    subject = subject_of(structure, checked.fields)
    assert subject_name("FR", subject)
    assert subject.common_name == common_name_of(number, checked.fields)
