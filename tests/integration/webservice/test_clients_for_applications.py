"""The clients that applications embed, against the web service: typed answers, errors, events."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from cardd.client import AddressNotLocalError, AsyncClient, Client, DaemonUnreachableError, ProblemError
from cardd.client.revocation import ValidationQuestion
from cardd.events import EventType
from cardd.revocation.domains import TrustScope
from cardd.revocation.types import CrlRequest, Freshness, Question, SpkiHash, Status
from cardd.revocation.verdicts import Result, RevocationMode, ValidationPolicy
from tests.support.revocation import bench
from tests.support.validation import small_pki
from tests.support.webservice import Running, running

ISSUER = SpkiHash("00" * 32)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    """Serve the fakes."""
    async with running(tmp_path) as served:
        yield served


@pytest.fixture
async def client(service: Running) -> AsyncIterator[AsyncClient]:
    """An asynchronous client of the owner's."""
    async with AsyncClient(service.address, service.token, "fr") as connected:
        yield connected


async def test_a_certificate_is_validated_with_typed_findings(client: AsyncClient) -> None:
    stranger = small_pki().leaf().pem.encode()
    policy = ValidationPolicy(revocation=RevocationMode.IF_AVAILABLE)
    root = small_pki().root.pem.encode()
    chain = small_pki().ca.pem.encode()
    question = ValidationQuestion(stranger, intermediates=[chain], anchors=[root], policy=policy)
    view = await client.revocation.validate(question)
    assert view.result is Result.VALID
    assert [each.subject for each in view.path] == ["CN=EMA", "CN=TEST CA", "CN=TEST ROOT"]


async def test_status_comes_single_and_in_batches(client: AsyncClient) -> None:
    single = await client.revocation.status(ISSUER, 0x4F1C)
    assert (single.status, single.freshness) == (Status.GOOD, Freshness.FRESH)
    batch = await client.revocation.statuses([Question(ISSUER, 1), Question(ISSUER, 2)], policy="strict")
    assert [each.status for each in batch] == [Status.GOOD, Status.GOOD]


@pytest.mark.parametrize("limit", [("_PIECE", 2), ("_PIECE_CHARACTERS", 1)])
async def test_any_number_of_certificates_is_asked_for_in_pieces(
    client: AsyncClient, service: Running, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]
) -> None:
    monkeypatch.setattr(f"cardd.client.revocation.{limit[0]}", limit[1])
    certificates = [small_pki().ca.pem.encode()] * 5
    assert len(await client.revocation.statuses_of(certificates)) == 5
    assert await client.revocation.statuses_of([]) == ()
    synchronous = Client(service.address, service.token).revocation
    assert len(await asyncio.to_thread(synchronous.statuses_of, certificates)) == 5


async def test_trust_comes_as_a_list_and_as_files(client: AsyncClient) -> None:
    shown = await client.revocation.trust()
    assert any("inactive depuis janvier 2021" in each.reason for each in shown)
    bundle = await client.revocation.trust_bundle("pem", TrustScope.IGC_SANTE_TEST)
    assert len(x509.load_pem_x509_certificates(bundle)) == 2


async def test_a_refusal_carries_its_code_and_words_in_the_language_asked(client: AsyncClient) -> None:
    with pytest.raises(ProblemError) as caught:
        await client.revocation.validate(ValidationQuestion(b"no certificate"))
    assert (caught.value.http_status, caught.value.problem_code) == (422, "invalid_fields")
    assert "ne contient pas de certificat lisible" in caught.value.detail.en


async def test_the_synchronous_client_asks_the_same(service: Running) -> None:
    client = Client(service.address, service.token)
    view = await asyncio.to_thread(
        client.revocation.validate, ValidationQuestion(small_pki().root.pem.encode())
    )
    assert view.result is Result.VALID
    assert await asyncio.to_thread(client.revocation.trust_bundle, "java")


async def test_a_client_finds_the_daemon_by_its_state(service: Running, tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachableError):
        Client.of_state(tmp_path / "nowhere")
    (tmp_path / "address").write_text(service.address + "\n")
    async with AsyncClient.of_state(tmp_path) as client:
        assert (await client.get("/readers")).status == 200


async def test_events_are_followed(service: Running, client: AsyncClient) -> None:
    await client.revocation.trust()
    session = await service.session()
    await client.post("/orders", {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": "318751275100020", "service": "INSI-AUTO",
        "contacts": ["tests@example.org"],
    }, card_session=session)  # fmt: skip
    async with asyncio.timeout(10):
        async for event in client.events(after=0):
            assert event.type == "order.created"
            break


async def test_lists_are_added_refreshed_read_and_followed_with_typed_events(tmp_path: Path) -> None:
    async with bench(tmp_path / "cache") as cached:
        content = cached.ca.crl(5)
        url = cached.server.on("/list.crl", content)
        async with (
            running(tmp_path, revocation=cached.cache, store=cached.store, bus=cached.bus) as service,
            AsyncClient(service.address, service.token) as client,
        ):
            revocation = client.revocation
            added = await revocation.add(CrlRequest(issuer_certificate=cached.ca.pem, url=url))
            assert (await revocation.refresh(added.id)).entries == 1
            assert [each.id for each in await revocation.lists()] == [added.id]
            assert await revocation.list_file(added.id) == content
            async with asyncio.timeout(10):
                told = []
                async for event in revocation.events(after=0):
                    told.append(event.type)
                    if len(told) == 2:
                        break
            assert told == [EventType.CRL_ADDED, EventType.CRL_UPDATED]
            assert event.subject == f"crl:{added.id}"
            sync = Client(service.address, service.token).revocation
            first = await asyncio.to_thread(lambda: next(sync.events(after=0)))
            assert first.type is EventType.CRL_ADDED
            assert (await asyncio.to_thread(sync.refresh, added.id)).state is Freshness.FRESH


async def test_nothing_under_the_address_is_said_in_words() -> None:
    async with AsyncClient("http://127.0.0.1:9", "t") as client:
        with pytest.raises(DaemonUnreachableError):
            await client.get("/readers")


def test_the_token_is_never_sent_to_another_machine() -> None:
    with pytest.raises(AddressNotLocalError):
        AsyncClient("http://example.org", "t")
