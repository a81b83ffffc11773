"""The synchronous client: retries that are safe, streams, addresses."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.client import AddressNotLocalError, Client, DaemonUnreachableError, read_events
from tests.support.fake_daemon import FakeDaemon, Scripted, fake_daemon


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    """A fake daemon."""
    with fake_daemon() as running:
        yield running


def test_a_cut_post_is_sent_again_under_the_same_key(fake: FakeDaemon) -> None:
    fake.on("POST", "/orders", Scripted(0, cut=True), Scripted(201, {"id": "1"}))
    assert Client(fake.address, "t").post("/orders", {}).json() == {"id": "1"}
    first, second = fake.asked
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_each_post_has_a_key_of_its_own(fake: FakeDaemon) -> None:
    fake.on("POST", "/orders", Scripted(201, {}))
    client = Client(fake.address, "t")
    client.post("/orders", {})
    client.post("/orders", {})
    assert len({each.headers["Idempotency-Key"] for each in fake.asked}) == 2


def test_a_daemon_that_cuts_every_connection_is_unreachable(fake: FakeDaemon) -> None:
    fake.on("GET", "/readers", Scripted(0, cut=True))
    with pytest.raises(DaemonUnreachableError):
        Client(fake.address, "t").get("/readers")
    assert len(fake.asked) == 2


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org",
        "https://127.0.0.1:8980",
        "http://127.0.0.1.example.org",
        "http://127.0.0.1@example.org/",
        "",
    ],
)
def test_only_loopback_addresses_are_taken(address: str) -> None:
    with pytest.raises(AddressNotLocalError):
        Client(address, "t")


def test_events_of_several_lines_and_comments_are_parsed() -> None:
    stream = iter(
        [b": hello\n", b"\n", b"id: 4\n", b"event: card.inserted\n", b"data: a\n", b"data: b\n", b"\n"]
    )
    (event,) = read_events(stream)
    assert event == (4, "card.inserted", "a\nb")


@given(st.lists(st.binary(max_size=40)))
def test_no_stream_breaks_the_parser(lines: list[bytes]) -> None:
    for event in read_events(iter(lines)):
        assert isinstance(event.data, str)
