"""The calls about revocation lists and status, as applications make them."""

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from yarl import URL

from cardd.errors import NotFoundError
from cardd.revocation.errors import FetchFailedError
from cardd.revocation.types import (
    CrlId,
    CrlRequest,
    CrlView,
    Freshness,
    FreshnessPolicy,
    Question,
    RevocationAnswer,
    SpkiHash,
    Status,
)
from cardd.text import Text
from tests.support.revocation import Ca
from tests.support.webservice import Running, running

ISSUER = hashlib.sha256(b"issuer").hexdigest()
VIEW = CrlView(
    id=CrlId("ACI-EL-ORG-TEST"), issuer="CN=TEST", issuer_spki_sha256=SpkiHash("00" * 32), urls=(),
    origin="local", state=Freshness.FRESH, number=7,
)  # fmt: skip


@dataclass
class OneList:
    """One list, by which serial 5 is revoked."""

    directory: Path

    def lists(self, language: str = "en") -> list[CrlView]:
        return [VIEW]

    def get(self, source: str, language: str = "en") -> CrlView:
        if source != VIEW.id:
            raise NotFoundError.of(Text("revocation list", "liste de révocation"), source)
        return VIEW

    def file(self, source: str) -> Path:
        self.get(source)
        path = self.directory / "list.crl"
        path.write_bytes(b"0123456789")
        return path

    async def add(self, request: CrlRequest) -> CrlView:
        return VIEW

    async def remove(self, source: str) -> None:
        self.get(source)

    async def refresh(self, source: str) -> CrlView:
        if source == "slow":
            raise FetchFailedError.of("timeout", "The list was not there.", "La liste n’était pas là.")
        return self.get(source)

    def answer(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        return RevocationAnswer(
            status=Status.REVOKED if serial == 5 else Status.GOOD,
            freshness=Freshness.EXPIRED if policy is not None and policy.name == "warn" else Freshness.FRESH,
        )

    async def batch(
        self, questions: Sequence[Question], policy: FreshnessPolicy | None = None
    ) -> list[RevocationAnswer]:
        return [self.answer(each.issuer, each.serial, policy) for each in questions]

    async def status_of(
        self, certificate: x509.Certificate, at: datetime | None = None, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        return RevocationAnswer(status=Status.UNKNOWN, freshness=Freshness.UNAVAILABLE)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, revocation=OneList(tmp_path)) as started:
        yield started


async def test_a_parameter_is_read_alike_however_it_is_encoded_and_once_only(service: Running) -> None:
    asked = f"issuer={ISSUER}&serial=05"
    answers = []
    for query in (asked, f"&{asked}&", f"issuer={ISSUER}&s%65rial=0%35", f"{asked}&policy=standard"):
        url = URL(f"{service.address}/api/v1/status?{query}", encoded=True)
        async with service.http.get(url, headers={"Authorization": f"Bearer {service.token}"}) as response:
            assert response.status == 200, query
            answers.append(await response.read())
    assert len(set(answers)) == 1
    for query in (f"{asked}&serial=05", f"{asked}&serial=0%35", f"{asked}&serial"):
        url = URL(f"{service.address}/api/v1/status?{query}", encoded=True)
        async with service.http.get(url, headers={"Authorization": f"Bearer {service.token}"}) as response:
            problem = await response.json(content_type=None)
            assert (response.status, [each["field"] for each in problem["fields"]]) == (422, ["serial"])


async def test_a_serial_is_answered_for(service: Running) -> None:
    status, answer = await service.json("GET", f"/api/v1/status?issuer={ISSUER}&serial=05")
    assert status == 200
    assert answer["status"] == "revoked"
    assert set(answer) >= {
        "status", "reason", "revoked_at", "freshness", "this_update", "next_update", "source", "decision"
    }  # fmt: skip
    _, answer = await service.json("GET", f"/api/v1/status?issuer={ISSUER.upper()}&serial=AB&policy=warn")
    assert (answer["status"], answer["freshness"]) == ("good", "expired")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (f"issuer={ISSUER}", "serial"),
        (f"issuer={ISSUER}&serial=xyz", "serial"),
        ("issuer=12&serial=1", "issuer"),
        (f"issuer={ISSUER}&serial=1&policy=mine", "policy"),
    ],
)
async def test_a_question_that_cannot_be_understood_names_its_field(
    service: Running, query: str, field: str
) -> None:
    status, problem = await service.json("GET", f"/api/v1/status?{query}")
    assert status == 422
    assert [each["field"] for each in problem["fields"]] == [field]


async def test_ten_thousand_are_answered_at_once_in_their_order(service: Running) -> None:
    items = [{"issuer": ISSUER, "serial": f"{number:032x}"} for number in range(10_000)]
    body, headers = json.dumps({"items": items}).encode(), {"Content-Type": "application/json"}
    status, answers = await service.json("POST", "/api/v1/status", data=io.BytesIO(body), headers=headers)
    assert status == 200
    assert [number for number, each in enumerate(answers["items"]) if each["status"] == "revoked"] == [5]
    body = json.dumps({"items": [*items, items[0]]}).encode()
    status, _ = await service.json("POST", "/api/v1/status", data=io.BytesIO(body), headers=headers)
    assert status == 422


async def test_a_batch_takes_certificates_beside_serials(service: Running) -> None:
    der = base64.b64encode(Ca().issue(7).public_bytes(Encoding.DER)).decode()
    items = [{"certificate": der}, {"issuer": ISSUER, "serial": "5"}]
    _, answers = await service.json("POST", "/api/v1/status", json={"items": items})
    assert [each["status"] for each in answers["items"]] == ["unknown", "revoked"]
    for wrong in ({"certificate": der, "serial": "1"}, {"issuer": ISSUER}, {}):
        status, problem = await service.json("POST", "/api/v1/status", json={"items": [wrong]})
        assert (status, problem["fields"][0]["field"]) == (422, "items.0")


class TurnsTaken(OneList):
    """Notes, at each certificate, how many turns others have had."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.turns = 0
        self.noted: list[int] = []

    async def others(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    async def status_of(
        self, certificate: x509.Certificate, at: datetime | None = None, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        self.noted.append(self.turns)
        return await super().status_of(certificate, at, policy)


async def test_others_have_their_turn_between_the_certificates_of_a_batch(tmp_path: Path) -> None:
    lists = TurnsTaken(tmp_path)
    der = base64.b64encode(Ca().issue(7).public_bytes(Encoding.DER)).decode()
    async with running(tmp_path, revocation=lists) as service:
        others = asyncio.create_task(lists.others())
        status, _ = await service.json("POST", "/api/v1/status", json={"items": [{"certificate": der}] * 30})
        others.cancel()
    assert status == 200
    assert len(set(lists.noted)) == 30


async def test_lists_are_listed_shown_added_refreshed_and_removed(service: Running) -> None:
    _, page = await service.json("GET", "/api/v1/crls")
    assert [each["id"] for each in page["items"]] == ["ACI-EL-ORG-TEST"]
    assert page["next_cursor"] is None
    path = "/api/v1/crls/ACI-EL-ORG-TEST"
    assert (await service.json("GET", path))[1]["number"] == 7
    assert (await service.json("GET", "/api/v1/crls/other"))[0] == 404
    body = {"url": "http://example.org/a.crl", "issuer_certificate": Ca().pem}
    assert (await service.json("POST", "/api/v1/crls", json=body))[0] == 201
    assert (await service.json("POST", path + "/refresh"))[0] == 200
    status, problem = await service.json("POST", "/api/v1/crls/slow/refresh")
    assert (status, problem["type"], problem["rule"]) == (502, "urn:cardd:error:crl_fetch_failed", "timeout")
    assert (await service.json("DELETE", path))[0] == 204


async def test_the_raw_list_comes_with_validators_and_in_ranges(service: Running) -> None:
    path = "/api/v1/crls/ACI-EL-ORG-TEST.crl"
    async with service.call("GET", path) as whole:
        assert whole.status == 200
        assert whole.content_type == "application/pkix-crl"
        assert await whole.read() == b"0123456789"
        etag, modified = whole.headers["ETag"], whole.headers["Last-Modified"]
        assert "no-cache" in whole.headers["Cache-Control"]
    async with service.call("GET", path, headers={"Range": "bytes=2-4"}) as part:
        assert (part.status, await part.read()) == (206, b"234")
        assert part.headers["Content-Range"] == "bytes 2-4/10"
    async with service.call("GET", path, headers={"Range": "bytes=20-"}) as outside:
        assert outside.status == 416
    async with service.call("GET", path, token=None) as nobody:
        assert nobody.status == 401
    assert etag
    assert modified
