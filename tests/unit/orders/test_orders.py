"""Orders: placed, tracked, retrieved once, cancelled, expired."""

import asyncio
import base64
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.custody.errors import CsrMalformedError, CsrSignatureInvalidError
from cardd.custody.registry import KeyAlreadyHeldError
from cardd.errors import CarddError, InvalidFieldsError, NotFoundError
from cardd.orders.errors import (
    AlreadyRetrievedError,
    NotAuthorisedError,
    OrderCancelledError,
    OrderExpiredError,
    RevocationCodeIncorrectError,
)
from cardd.orders.filters import OrderFilters
from cardd.orders.identifiers import make_test_rpps
from cardd.orders.paging import PageRequest
from cardd.orders.sorting import OrderSort
from cardd.orders.types import (
    CertificateState,
    KeyRequest,
    Offer,
    OrderState,
    OrderView,
    Person,
    RetrievalRequest,
    RevocationReason,
    RevocationRequest,
    WantedOffer,
)
from cardd.store import RequestKey, current_request_key
from cardd.store.tables import certificates, idempotency, key_intents, key_registry, notices
from cardd.vocabulary import Usage
from tests.support.orders import (
    SIRET,
    STRUCTURE,
    Card,
    World,
    csr_key,
    der_of,
    form_f414,
    new_csr,
    order_request,
    retrieval,
)

_BEGIN, _END = "-----BEGIN CERTIFICATE REQUEST-----", "-----END CERTIFICATE REQUEST-----"


def faults(error: InvalidFieldsError) -> set[str]:
    return {problem.field for problem in error.fields}


async def test_an_order_makes_its_key_on_the_structure_s_token_and_claims_it(world: World) -> None:
    view = await world.order()
    assert view.state is OrderState.TO_RETRIEVE
    assert (view.label, view.custody, view.token) == ("EMA", "software", f"cardd {STRUCTURE}")
    assert view.expires_at == view.created_at + timedelta(days=30)
    assert [step.action for step in view.history] == ["order.created"]
    (claim,) = await world.rows(key_registry)
    assert (claim.spki_sha256, claim.holder) == (view.public_key_sha256, view.id)
    assert await world.rows(key_intents) == []
    assert (await world.event_types())[-2:] == ["order.created", "key.created"]


async def test_a_key_s_uri_names_token_and_key_and_no_pin_file_while_the_pin_is_sealed(world: World) -> None:
    view = await world.order()
    assert view.pkcs11_uri is not None
    assert view.pkcs11_uri.startswith(
        f"pkcs11:token=cardd%20{STRUCTURE};serial=token-{STRUCTURE};object=EMA;id=%"
    )
    assert view.pkcs11_uri.endswith("type=private")


async def test_the_default_key_is_rsa_2048(world: World) -> None:
    assert (await world.order(order_request(key=KeyRequest()))).algorithm == "rsa_2048"


@pytest.mark.parametrize("encode", [str, der_of])
async def test_an_order_takes_a_csr_in_pem_or_base64(world: World, encode: type[str]) -> None:
    view = await world.order(order_request(key=csr_key(encode(new_csr()))))
    assert (view.custody, view.key_source, view.token, view.pkcs11_uri) == ("external", "csr", None, None)
    assert "key.created" not in await world.event_types()


@pytest.mark.parametrize("csr", [f"{_BEGIN}\nAA==\n{_END}", "%%", "é", "AAAA", "-----BEGIN é"])
async def test_a_malformed_csr_is_refused_by_its_field(world: World, csr: str) -> None:
    with pytest.raises(CsrMalformedError) as caught:
        await world.order(order_request(key=csr_key(csr)))
    assert faults(caught.value) == {"key.csr"}


async def test_a_csr_with_a_broken_signature_proves_nothing(world: World) -> None:
    der = bytearray(x509.load_pem_x509_csr(new_csr().encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(CsrSignatureInvalidError):
        await world.order(order_request(key=csr_key(_base64(bytes(der)))))


async def test_a_csr_s_key_must_fit_the_profile(world: World) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        await world.order(order_request(usage=Usage.CONF, key=csr_key(new_csr())))
    assert faults(caught.value) == {"key.csr"}
    with pytest.raises(InvalidFieldsError) as caught:
        await world.order(order_request(key=KeyRequest(source="csr", csr=new_csr(), algorithm="rsa_2048")))
    assert faults(caught.value) == {"key.algorithm"}


async def test_a_token_is_named_by_label_or_serial_and_must_be_the_structure_s(world: World) -> None:
    view = await world.order()
    for name in (view.token, f"token-{STRUCTURE}"):
        again = await world.order(order_request(key=KeyRequest(token=name, algorithm="ec_p256")))
        assert again.token == view.token
    with pytest.raises(InvalidFieldsError) as caught:
        await world.order(order_request(key=KeyRequest(token="cardd PKI")))
    assert faults(caught.value) == {"key.token"}


@pytest.mark.parametrize("changes", [{"structure": f"3{SIRET}"}, {"offer": Offer.SERV, "usage": Usage.SMIME}])
async def test_a_card_orders_only_what_it_is_authorised_for(
    bare_world: World, changes: dict[str, object]
) -> None:
    await bare_world.authorise(form_f414(offers=(WantedOffer(offer=Offer.ORG),)))
    request = order_request(**changes)
    if "offer" in changes:
        request = order_request(**changes, service=None, email="a@example.fr")
    with pytest.raises(NotAuthorisedError):
        await bare_world.order(request)
    assert bare_world.tokens.keys == {}


async def test_a_withdrawn_habilitation_and_an_opposed_card_authorise_no_order(world: World) -> None:
    (habilitation,) = await world.habilitations.of_card(world.card.card_serial)
    opposed = Card("00000002")
    async with world.store.transaction() as tx:
        await world.habilitations.add_card(tx, habilitation.id, opposed.card_serial)
    await world.keep_card(opposed.card_serial, opposed=True)
    with pytest.raises(NotAuthorisedError):
        await world.orders.create(order_request(), opposed)
    order = await world.order()
    await world.habilitations.withdraw(habilitation.id)
    with pytest.raises(NotAuthorisedError):
        await world.order()
    with pytest.raises(NotAuthorisedError):
        await world.retrieve(order)


async def test_a_refused_order_leaves_neither_row_nor_key(world: World) -> None:
    habilitations = await world.habilitations.of_card(world.card.card_serial)

    async def withdraw_meanwhile(*_: object, **__: object) -> object:
        await world.habilitations.withdraw(habilitations[0].id)
        return await original(*_, **__)  # type: ignore[arg-type]

    original = world.parts.maker.make
    world.parts.maker.make = withdraw_meanwhile  # type: ignore[method-assign,assignment]
    with pytest.raises(NotAuthorisedError):
        await world.order()
    assert world.tokens.keys == {}
    assert await world.rows(key_intents) == []
    assert await world.rows(key_registry) == []


async def test_of_fifty_identical_requests_at_once_exactly_one_gets_the_key(world: World) -> None:
    request = order_request(key=csr_key(new_csr()))
    outcomes = await asyncio.gather(*(world.order(request) for _ in range(50)), return_exceptions=True)
    placed = [outcome for outcome in outcomes if isinstance(outcome, OrderView)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, KeyAlreadyHeldError)]
    assert (len(placed), len(refused)) == (1, 49)
    assert {error.data["conflict"]["holder"] for error in refused} == {placed[0].id}
    page = await world.orders.list(OrderFilters(), PageRequest())
    assert [view.id for view in page.items] == [placed[0].id]


async def test_a_key_that_was_certified_is_never_certified_again(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    order = await world.prove(await world.order(order_request(key=csr_key(new_csr(key)))), key)
    certificate = await world.retrieve(order)
    with pytest.raises(KeyAlreadyHeldError) as caught:
        await world.order(order_request(service="OTHER", key=csr_key(new_csr(key))))
    assert caught.value.data["conflict"]["certificate"] == certificate.serial


async def test_the_same_key_is_refused_to_another_structure(world: World) -> None:
    await world.authorise(form_f414(finess=None, siret=SIRET))
    key = csr_key(new_csr())
    order = await world.order(order_request(key=key))
    with pytest.raises(KeyAlreadyHeldError) as caught:
        await world.order(order_request(key=key, structure=f"3{SIRET}"))
    assert caught.value.data["conflict"]["holder"] == order.id


PERSON = Person(last_name="LE GÖFF", first_name="Zoé", rpps=make_test_rpps(7), profession=40)
MEMBER_SUBJECT = (
    "2.5.4.42=CHARLES+CN=31B0073160/CPET0002+SN=CPE-TEST,title=Personnel santé ou social,"
    f"OU={STRUCTURE},O=HOPITAL DES 3. DAMES,ST=Paris (75),C=FR"
)
MEMBER = Person(last_name="CPE-TEST", first_name="CHARLES", register="CPET0002")


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({}, f"CN=EMA,OU={STRUCTURE},O=HOPITAL DES 3. DAMES,ST=Paris (75),C=FR"),
        (
            {
                "offer": Offer.SERV,
                "usage": Usage.SSL_SERV,
                "service": None,
                "fqdn": ("a.example.fr", "b.example.fr"),
            },
            f"CN=a.example.fr,OU={STRUCTURE},O=HOPITAL DES 3. DAMES,ST=Paris (75),C=FR",
        ),
        (
            {"offer": Offer.SERV, "usage": Usage.SMIME, "service": None, "email": "m@example.fr"},
            f"CN=m@example.fr,OU={STRUCTURE},O=HOPITAL DES 3. DAMES,ST=Paris (75),C=FR",
        ),
        (
            {"offer": Offer.PS, "usage": Usage.SIGN, "service": None, "person": PERSON},
            f"2.5.4.42=Zoé+CN=8{make_test_rpps(7)}+SN=LE GÖFF,title=Chirurgien-Dentiste,C=FR",
        ),
        (
            {"offer": Offer.PRO, "service": None, "person": MEMBER},
            MEMBER_SUBJECT,
        ),
    ],
)
async def test_each_offer_s_certificate_has_the_subject_of_its_profile(
    world: World, changes: dict[str, object], subject: str
) -> None:
    view = await world.retrieve(await world.order(order_request(**changes)))
    rdns, wanted = _attributes(view.subject), _attributes(subject)
    assert rdns == wanted


async def test_a_retrieved_order_gives_its_certificate_chain_and_history(world: World) -> None:
    order = await world.order()
    view = await world.retrieve(order)
    leaf = x509.load_der_x509_certificate(view.certificate)
    issuer, root = (x509.load_der_x509_certificate(der) for der in view.chain)
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    assert x509.load_pem_x509_certificate(view.pem.encode()) == leaf
    assert (view.order, view.offer, view.usage, view.contacts) == (
        order.id, Offer.ORG, Usage.AUTH_CLI, ("a@example.fr", "b@example.fr"),
    )  # fmt: skip
    assert [step.action for step in view.history] == ["certificate.issued"]
    tracked = await world.orders.get(order.id)
    assert (tracked.state, tracked.certificate) == (OrderState.RETRIEVED, view.serial)
    assert [step.action for step in tracked.history] == ["order.created", "order.retrieved"]
    assert {(row.kind, row.recipient) for row in await world.rows(notices)} == {
        ("retrieved", "a@example.fr"), ("retrieved", "b@example.fr"),
    }  # fmt: skip


async def test_a_certificate_is_written_beside_its_key(world: World) -> None:
    view = await world.retrieve()
    assert list(world.tokens.certificates.values()) == [view.certificate]
    assert set(world.tokens.certificates) == set(world.tokens.keys)


async def test_a_certificate_that_its_token_did_not_take_is_written_later(world: World) -> None:
    order = await world.order()
    world.tokens.broken = True
    await world.retrieve(order)
    assert world.tokens.certificates == {}
    assert await world.certificates.finish_token_writes() == 0
    world.tokens.broken = False
    assert await world.certificates.finish_token_writes() == 1
    assert await world.certificates.finish_token_writes() == 0
    assert len(world.tokens.certificates) == 1


async def test_of_two_retrievals_at_once_one_gets_the_certificate(world: World) -> None:
    order = await world.order()
    outcomes = await asyncio.gather(*(world.retrieve(order) for _ in range(4)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, AlreadyRetrievedError)]
    assert len(refused) == 3
    assert len(await world.rows(certificates)) == 1


async def test_of_a_retrieval_and_a_cancellation_at_once_one_wins(world: World) -> None:
    order = await world.order()
    outcomes = await asyncio.gather(
        world.retrieve(order), world.orders.cancel(order.id), return_exceptions=True
    )
    assert sum(isinstance(outcome, CarddError) for outcome in outcomes) == 1
    state = (await world.orders.get(order.id)).state
    assert (len(await world.rows(certificates)) == 1) is (state is OrderState.RETRIEVED)


async def test_a_certificate_without_a_code_is_revoked_by_owner_and_card_but_by_no_code(world: World) -> None:
    placed = await world.order()
    given = RetrievalRequest(without_code=True, accept_terms=True)
    view = await world.orders.retrieve(placed.id, given, world.card)
    (row,) = await world.rows(certificates)
    assert row.revocation_code_hash is None
    by_code = RevocationRequest(reason=RevocationReason.SUPERSEDED, revocation_code="None")
    with pytest.raises(RevocationCodeIncorrectError):
        await world.certificates.revoke(view.serial, by_code)
    by_card = RevocationRequest(reason=RevocationReason.SUPERSEDED)
    revoked = await world.certificates.revoke(view.serial, by_card, world.card)
    assert revoked.state is CertificateState.REVOKED


async def test_a_code_and_none_at_once_are_refused(world: World) -> None:
    placed = await world.order()
    with pytest.raises(InvalidFieldsError) as caught:
        await world.orders.retrieve(
            placed.id, msgspec.structs.replace(retrieval(), without_code=True), world.card
        )
    assert [problem.field for problem in caught.value.fields] == ["without_code"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"confirmation": "other one"}, {"confirmation"}),
        ({"revocation_code": "123", "confirmation": "123"}, {"revocation_code"}),
        ({"accept_terms": False}, {"accept_terms"}),
        (
            {"revocation_code": "1", "accept_terms": False},
            {"revocation_code", "confirmation", "accept_terms"},
        ),
    ],
)
async def test_a_retrieval_needs_the_code_twice_and_the_terms(
    world: World, changes: dict[str, object], fields: set[str]
) -> None:
    order = await world.order()
    with pytest.raises(InvalidFieldsError) as caught:
        await world.orders.retrieve(order.id, msgspec.structs.replace(retrieval(), **changes), world.card)
    assert faults(caught.value) == fields
    assert (await world.orders.get(order.id)).state is OrderState.TO_RETRIEVE


async def test_a_cancelled_order_frees_and_destroys_its_key(world: World) -> None:
    order = await world.order()
    cancelled = await world.orders.cancel(order.id)
    assert (cancelled.state, cancelled.pkcs11_uri) == (OrderState.CANCELLED, None)
    assert world.tokens.keys == {}
    assert await world.rows(key_registry) == []
    assert await world.rows(key_intents) == []
    assert (await world.event_types())[-2:] == ["order.cancelled", "key.destroyed"]
    with pytest.raises(OrderCancelledError):
        await world.orders.cancel(order.id)
    with pytest.raises(OrderCancelledError):
        await world.retrieve(order)


async def test_a_key_that_could_not_be_destroyed_is_destroyed_at_the_next_start(world: World) -> None:
    order = await world.order()
    world.tokens.broken = True
    await world.orders.cancel(order.id)
    assert len(world.tokens.keys) == 1
    world.tokens.broken = False
    assert await world.parts.intents.recover() == 1
    assert world.tokens.keys == {}


async def test_a_cancelled_csr_s_key_may_be_ordered_again(world: World) -> None:
    request = order_request(key=csr_key(new_csr()))
    await world.orders.cancel((await world.order(request)).id)
    assert (await world.order(request)).state is OrderState.TO_RETRIEVE


async def test_an_order_not_retrieved_in_time_expires_and_its_key_is_destroyed(world: World) -> None:
    order = await world.order()
    world.clock.advance(timedelta(days=30))
    assert (await world.orders.get(order.id)).state is OrderState.EXPIRED
    with pytest.raises(OrderExpiredError):
        await world.retrieve(order)
    with pytest.raises(OrderExpiredError):
        await world.orders.cancel(order.id)
    await world.orders.recover()
    assert await world.orders.expire_due() == 0
    assert (await world.orders.get(order.id)).state is OrderState.EXPIRED
    assert world.tokens.keys == {}
    assert (await world.event_types())[-2:] == ["order.expired", "key.destroyed"]


async def test_a_retrieved_order_does_not_expire(world: World) -> None:
    order = await world.order()
    await world.retrieve(order)
    world.clock.advance(timedelta(days=31))
    assert await world.orders.expire_due() == 0
    assert (await world.orders.get(order.id)).state is OrderState.RETRIEVED


async def test_an_unknown_order_is_not_found(world: World) -> None:
    for call in (world.orders.get, world.orders.cancel):
        with pytest.raises(NotFoundError):
            await call("nothing")
    with pytest.raises(NotFoundError):
        await world.orders.retrieve("nothing", retrieval(), world.card)


async def test_orders_are_listed_newest_first_and_narrowed(world: World) -> None:
    first = await world.order()
    world.clock.advance(timedelta(minutes=1))
    second = await world.order(order_request(usage=Usage.SIGN, service="Été 100%"))
    await world.orders.cancel(first.id)
    listed = {
        "all": OrderFilters(),
        "usage": OrderFilters(usage=Usage.SIGN),
        "offer": OrderFilters(offer=Offer.PS),
        "structure": OrderFilters(structure=STRUCTURE),
        "cancelled": OrderFilters(state=OrderState.CANCELLED),
        "waiting": OrderFilters(state=OrderState.TO_RETRIEVE),
        "words": OrderFilters(q="DAMES été"),
        "percent": OrderFilters(q="100%"),
        "wildcard": OrderFilters(q="1%0"),
        "contact": OrderFilters(q="B@example.FR"),
        "odd": OrderFilters(q="\x00"),
    }
    found = {name: await _identifiers(world, filters) for name, filters in listed.items()}
    both = [second.id, first.id]
    assert found == {
        "all": both, "usage": [second.id], "offer": [], "structure": both, "cancelled": [first.id],
        "waiting": [second.id], "words": [second.id], "percent": [second.id], "wildcard": [], "contact": both,
        "odd": both,
    }  # fmt: skip


async def test_an_expired_order_is_listed_as_such_before_upkeep_comes_by(world: World) -> None:
    order = await world.order()
    world.clock.advance(timedelta(days=30))
    assert await _identifiers(world, OrderFilters(state=OrderState.EXPIRED)) == [order.id]
    assert await _identifiers(world, OrderFilters(state=OrderState.TO_RETRIEVE)) == []


async def test_pages_hold_each_order_once_also_when_made_at_one_moment(world: World) -> None:
    made = {(await world.order(order_request(key=csr_key(new_csr())))).id for _ in range(7)}
    seen: list[str] = []
    page = await world.orders.list(OrderFilters(), PageRequest(limit=3))
    while True:
        seen += [view.id for view in page.items]
        if page.next_cursor is None:
            break
        page = await world.orders.list(OrderFilters(), PageRequest(limit=3, cursor=page.next_cursor))
    assert (len(seen), set(seen)) == (7, made)


@pytest.mark.parametrize("sort", OrderSort)
async def test_pages_of_sorted_orders_follow_one_another(world: World, sort: OrderSort) -> None:
    for service in ("B", "A", "C", "A"):
        await world.order(order_request(service=service, key=csr_key(new_csr())))
        world.clock.advance(timedelta(minutes=1))
    listed: list[OrderView] = []
    cursor = None
    while True:
        page = await world.orders.list(OrderFilters(sort=sort), PageRequest(limit=1, cursor=cursor))
        listed += page.items
        if (cursor := page.next_cursor) is None:
            break
    by_name = sort in (OrderSort.NAME, OrderSort.NAME_DESCENDING)
    keys = [view.label if by_name else view.created_at.isoformat() for view in listed]
    backwards = sort in (OrderSort.NEWEST, OrderSort.NAME_DESCENDING)
    assert keys == sorted(keys, reverse=backwards)
    assert len({view.id for view in listed}) == 4


async def test_the_cursor_of_a_list_by_name_is_refused_by_a_list_by_time(world: World) -> None:
    for service in ("A", "B"):
        await world.order(order_request(service=service, key=csr_key(new_csr())))
    page = await world.orders.list(OrderFilters(sort=OrderSort.NAME), PageRequest(limit=1))
    with pytest.raises(InvalidFieldsError):
        await world.orders.list(OrderFilters(), PageRequest(cursor=page.next_cursor))


async def test_a_card_sees_only_what_it_is_authorised_for(world: World) -> None:
    order = await world.order()
    stranger = Card("00000003")
    other = form_f414(finess=None, siret=SIRET, structure_name="AUTRE")
    await world.authorise(other, stranger)
    page = await world.orders.list(OrderFilters(), PageRequest(), stranger)
    assert page.items == ()
    with pytest.raises(NotFoundError):
        await world.orders.get(order.id, stranger)
    with pytest.raises(NotAuthorisedError):
        await world.orders.cancel(order.id, stranger)
    with pytest.raises(NotAuthorisedError):
        await world.orders.retrieve(order.id, retrieval(), stranger)
    assert (await world.orders.get(order.id, world.card)).id == order.id


async def test_an_idempotency_key_is_bound_to_what_its_request_made(world: World) -> None:
    token = current_request_key.set(RequestKey(caller="owner", key="k", request_sha256="0" * 64))
    try:
        order = await world.order()
    finally:
        current_request_key.reset(token)
    (row,) = await world.rows(idempotency)
    assert (row.kind, row.subject) == ("order", order.id)


async def _identifiers(world: World, filters: OrderFilters) -> list[str]:
    return [view.id for view in (await world.orders.list(filters, PageRequest())).items]


def _attributes(rfc4514: str) -> list[set[str]]:
    return [set(rdn.split("+")) for rdn in rfc4514.replace("GN=", "2.5.4.42=").split(",")]


def _base64(der: bytes) -> str:
    return base64.b64encode(der).decode()
