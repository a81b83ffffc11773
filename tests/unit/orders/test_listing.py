"""Words found in orders and certificates: anywhere, in any order of the list, page by page."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from cardd.orders import listing
from cardd.orders.filters import CertificateFilters, OrderFilters
from cardd.orders.paging import PageRequest
from cardd.orders.sorting import OrderSort
from cardd.store import search
from cardd.store.tables import certificates, orders
from tests.support.orders import Card, World, form_f414, order_request


async def named(world: World, *services: str) -> dict[str, str]:
    """Place an order for each service, a second after the last; return them by identifier."""
    labels: dict[str, str] = {}
    for service in services:
        view = await world.order(order_request(service=service))
        labels[view.id] = view.label
        world.clock.advance(timedelta(seconds=1))
    return labels


async def found(
    world: World,
    q: str,
    *,
    sort: OrderSort = OrderSort.NEWEST,
    limit: int = 50,
    card: Card | None = None,
) -> list[str]:
    """Return what is found, read page by page."""
    labels: list[str] = []
    cursor: str | None = None
    while True:
        asked = PageRequest(limit=limit, cursor=cursor)
        page = await world.orders.list(OrderFilters(q=q, sort=sort), asked, card)
        labels += [view.label for view in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return labels


@pytest.mark.parametrize(
    ("q", "labels"),
    [
        ("lph", ["ALPHA TWO", "ALPHA ONE"]),
        ("alpha two", ["ALPHA TWO"]),
        ("TWO alpha", ["ALPHA TWO"]),
        ("o", ["BRAVO", "ALPHA TWO", "ALPHA ONE"]),
        ("on alpha", ["ALPHA ONE"]),
        ("nothing", []),
        ('"', []),
        ('al"pha', []),
        ("%%%", []),
        ("alpha OR bravo", []),
    ],
)
async def test_every_word_is_looked_for_anywhere(world: World, q: str, labels: list[str]) -> None:
    await named(world, "ALPHA ONE", "ALPHA TWO", "BRAVO")
    assert await found(world, q) == labels


@pytest.mark.parametrize("sort", OrderSort)
@pytest.mark.parametrize("bounds", [{"_FEW": 0, "_NEAR": 1}, {"_FEW": 5000, "_NEAR": 2000}])
@pytest.mark.parametrize("q", ["alpha", "ph"])
async def test_hits_are_paged_in_any_order_without_loss_or_doubles(
    world: World, sort: OrderSort, bounds: dict[str, int], q: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(listing, name, value)
    labels = ["ALPHA C", "ALPHA A", "ALPHA E", "ALPHA B", "ALPHA D"]
    await named(world, *labels, "BRAVO")
    everything = await found(world, q, sort=sort)
    assert await found(world, q, sort=sort, limit=2) == everything
    assert sorted(everything) == sorted(labels)
    if sort in (OrderSort.NAME, OrderSort.NAME_DESCENDING):
        assert everything == sorted(labels, reverse=sort is OrderSort.NAME_DESCENDING)
    else:
        assert everything == (labels if sort is OrderSort.OLDEST else labels[::-1])


async def test_certificates_are_found_by_a_part_of_their_serial(world: World) -> None:
    view = await world.retrieve()
    await world.retrieve()
    page = await world.certificates.list(CertificateFilters(q=view.serial[5:17].upper()), PageRequest())
    assert [each.serial for each in page.items] == [view.serial]


async def test_what_is_changed_or_removed_is_found_as_it_is_now(world: World) -> None:
    first, second = await named(world, "ALPHA ONE", "ALPHA TWO")
    async with world.store.transaction() as tx:
        await tx.execute(sa.update(orders).where(orders.c.id == first).values(search="charlie"))
        await tx.execute(sa.delete(orders).where(orders.c.id == second))
    assert await found(world, "alpha") == []
    assert await found(world, "charlie") == ["ALPHA ONE"]
    assert await world.rows(certificates) == []


@pytest.mark.parametrize("sample", [1, 200])
@pytest.mark.parametrize("step", [0.0, 100.0])
async def test_every_part_of_a_name_is_found_whichever_trigrams_are_read(
    world: World, sample: int, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_SAMPLE", sample)
    monkeypatch.setattr(search, "_STEP", step)
    labels = ["XYZZYX-KKKKQW", "XYZZYX-KKKQWK", "XYZZYX-QWKKKK", "KKKKQW", "XYZZYXW"]
    await named(world, *labels)
    wanted = {label[at : at + length] for label in labels for at in range(8) for length in (3, 5, 9)}
    for part in (each for each in wanted if len(each) >= 3):
        assert await found(world, part) == [label for label in reversed(labels) if part in label], part


@pytest.mark.parametrize("small", [0, 1000])
@pytest.mark.parametrize("sort", [OrderSort.NEWEST, OrderSort.NAME_DESCENDING])
@pytest.mark.parametrize("q", ["alpha", "ph", "dames", ""])
async def test_a_card_finds_what_its_habilitations_cover(
    world: World, small: int, sort: OrderSort, q: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_SMALL", small)
    others = Card("00000007")
    await world.authorise(form_f414(finess="1B0073161", structure_name="LES DAMES D’ALPHA"), others)
    await named(world, "ALPHA ONE", "ALPHA TWO")
    theirs = order_request(service="ALPHA THREE", structure="11B0073161")
    await world.orders.create(theirs, others)
    assert sorted(await found(world, q, sort=sort)) == ["ALPHA ONE", "ALPHA THREE", "ALPHA TWO"]
    assert await found(world, q, sort=sort, card=world.card) == ["ALPHA TWO", "ALPHA ONE"]
    assert await found(world, q, sort=sort, card=others) == ["ALPHA THREE"]
    assert await found(world, q, sort=sort, card=Card("00000008")) == []


@pytest.mark.parametrize("small", [0, 1000])
async def test_a_card_finds_its_own_certificates(
    world: World, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_SMALL", small)
    view = await world.retrieve()
    await world.keep_card("00000007")
    async with world.store.transaction() as tx:
        await tx.execute(
            sa.update(certificates).values(
                kind="card", card_serial="00000007", order_id=None, offer=None, usage=None, structure_id=None,
                search="00000007 899700000001 alice martin",
            )
        )  # fmt: skip
    for card, serials in ((Card("00000007"), [view.serial]), (world.card, [])):
        page = await world.certificates.list(CertificateFilters(q="martin"), PageRequest(), card)
        assert [each.serial for each in page.items] == serials
