"""Words found in orders and certificates: anywhere, in any order of the list, page by page."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from cardd.orders import listing
from cardd.orders.filters import CertificateFilters, OrderFilters
from cardd.orders.paging import PageRequest
from cardd.orders.sorting import OrderSort
from cardd.store.tables import certificates, orders
from tests.support.orders import World, order_request


async def named(world: World, *services: str) -> dict[str, str]:
    """Place an order for each service, a second after the last; return them by identifier."""
    labels: dict[str, str] = {}
    for service in services:
        view = await world.order(order_request(service=service))
        labels[view.id] = view.label
        world.clock.advance(timedelta(seconds=1))
    return labels


async def found(world: World, q: str, *, sort: OrderSort = OrderSort.NEWEST, limit: int = 50) -> list[str]:
    """Return what is found, read page by page."""
    labels: list[str] = []
    cursor: str | None = None
    while True:
        page = await world.orders.list(OrderFilters(q=q, sort=sort), PageRequest(limit=limit, cursor=cursor))
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
@pytest.mark.parametrize("few", [0, 5000])
@pytest.mark.parametrize("q", ["alpha", "ph"])
async def test_hits_are_paged_in_any_order_without_loss_or_doubles(
    world: World, sort: OrderSort, few: int, q: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_FEW", few)
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
