"""The calls that give the daemon lists to keep, and what applications make of ageing ones."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cardd.applications.types import Scope
from cardd.revocation.learning import Learner
from cardd.revocation.prepared import PreparedLists
from cardd.revocation.trust import TrustStore
from tests.support.pairing import paired
from tests.support.revocation import START, Ca, bench
from tests.support.webservice import Running, running


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    """Serve a real cache that trusts one CA."""
    async with bench(tmp_path / "cache", private=lambda _: False) as cached:
        trust = TrustStore(lambda: [cached.ca.certificate], tmp_path / "trust")
        cached.server.on("/named.crl", cached.ca.crl(5))
        async with running(
            tmp_path,
            revocation=cached.cache,
            learner=Learner(trust, cached.cache),
            prepared=PreparedLists(trust, cached.cache),
        ) as started:
            yield started


async def test_a_list_can_be_downloaded_in_parts_of_the_same_list_only(tmp_path: Path) -> None:
    async with bench(tmp_path / "cache") as cached:
        der = cached.ca.crl(5)
        cached.server.on("/list.crl", der)
        path = f"/api/v1/crls/{(await cached.add('/list.crl')).id}.crl"
        async with running(tmp_path, revocation=cached.cache) as service:
            async with service.call("HEAD", path) as answer:
                assert (answer.status, answer.content_length) == (200, len(der))
                tag = answer.headers["ETag"]
            for headers, status, body in (
                ({}, 200, der),
                ({"If-None-Match": tag}, 304, b""),
                ({"Range": "bytes=0-9"}, 206, der[:10]),
                ({"Range": "bytes=10-", "If-Range": tag}, 206, der[10:]),
                ({"Range": "bytes=10-", "If-Range": '"of-another-list"'}, 200, der),
                ({"Range": "bytes=10-", "If-Range": f"W/{tag}"}, 200, der),
                ({"Range": "bytes=10-", "If-Range": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200, der),
            ):
                async with service.call("GET", path, headers=headers) as answer:
                    assert (answer.status, await answer.read()) == (status, body), headers


async def test_the_prepared_lists_are_shown_switched_on_and_off(service: Running) -> None:
    status, shown = await service.json("GET", "/api/v1/prepared-crls")
    assert status == 200
    assert {each["crl"] for each in shown["items"]} == {None}
    path = "/api/v1/prepared-crls/ACI-EL-ORG-TEST"
    status, view = await service.json("PUT", path, json={})
    assert (status, view["id"], view["state"]) == (200, "IGC-SANTE-ACI-EL-ORG-TEST", "unavailable")
    _, shown = await service.json("GET", "/api/v1/prepared-crls")
    assert [each["name"] for each in shown["items"] if each["crl"] is not None] == ["ACI-EL-ORG-TEST"]
    async with service.call("DELETE", path) as answer:
        assert answer.status == 204
    status, problem = await service.json("DELETE", path)
    assert (status, problem["type"]) == (404, "urn:cardd:error:not_found")


async def test_a_prepared_list_whose_ca_is_not_held_says_what_to_do(service: Running) -> None:
    status, problem = await service.json("PUT", "/api/v1/prepared-crls/ACR-FO-TEST", json={})
    assert (status, problem["type"]) == (409, "urn:cardd:error:authority_not_held")
    assert "trust/igc_sante_test" in problem["advice"]
    status, _ = await service.json("PUT", "/api/v1/prepared-crls/NONE", json={})
    assert status == 404


async def test_a_certificate_that_is_none_is_told_by_its_field_and_a_strangers_teaches_nothing(
    service: Running,
) -> None:
    status, problem = await service.json("POST", "/api/v1/learned-crls", json={"certificate": "none"})
    assert (status, problem["fields"][0]["field"]) == (422, "certificate")
    status, answer = await service.json("POST", "/api/v1/learned-crls", json={"certificate": Ca("OTHER").pem})
    assert (status, answer) == (200, {"items": []})


async def test_policies_are_stored_shown_and_forgotten(service: Running) -> None:
    _, shown = await service.json("GET", "/api/v1/freshness-policies")
    assert [(each["name"], each["default"]) for each in shown["items"]] == [
        ("standard", True), ("strict", False), ("warn", False), ("grace", False),
    ]  # fmt: skip
    path = "/api/v1/freshness-policies/mon%20appli"
    body = {"stale": "accept", "expired": "warn", "expired_hours": 12}
    status, view = await service.json("PUT", path, json=body)
    assert status == 200
    assert view == {"name": "mon appli", **body, "built_in": False, "default": False}
    status, view = await service.json("PUT", path, json={"stale": "refuse"})
    assert (view["stale"], view["expired"], view["expired_hours"]) == ("refuse", "refuse", None)
    async with service.call("DELETE", path) as answer:
        assert answer.status == 204
    status, _ = await service.json("DELETE", path)
    assert status == 404


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("standard", {}, 409, "built in"),
        ("app", {"stale": "refuse", "expired": "accept"}, 422, "must not be milder"),
        ("app", {"expired_hours": 5}, 422, "says nothing"),
        ("app", {"stale": "perhaps"}, 422, "stale"),
        ("%20app", {}, 422, "visible characters"),
    ],
)
async def test_a_policy_that_nobody_can_mean_is_refused(
    service: Running, name: str, body: dict[str, object], status: int, words: str
) -> None:
    got, problem = await service.json("PUT", f"/api/v1/freshness-policies/{name}", json=body)
    assert got == status
    assert words in problem["detail"]


async def test_a_request_names_a_stored_policy_and_a_caller_without_one_gets_its_own(tmp_path: Path) -> None:
    async with bench(tmp_path / "cache") as cached:
        cached.server.on("/list.crl", cached.ca.crl(5))
        view = await cached.add("/list.crl")
        cached.clock.advance(START.resolution + (view.next_update or START) - START)
        async with running(tmp_path, revocation=cached.cache) as service:
            question = f"/api/v1/status?issuer={view.issuer_spki_sha256}&serial=06"
            _, answer = await service.json("GET", question)
            assert (answer["status"], answer["freshness"], answer["decision"]) == (
                "unknown",
                "expired",
                "refuse",
            )
            body = {"stale": "accept", "expired": "accept", "expired_hours": 5}
            await service.json("PUT", "/api/v1/freshness-policies/night-shift", json=body)
            _, answer = await service.json("GET", f"{question}&policy=night-shift")
            assert (answer["status"], answer["freshness"], answer["decision"]) == (
                "good",
                "expired",
                "accept",
            )
            status, problem = await service.json("GET", f"{question}&policy=day-shift")
            assert (status, problem["fields"][0]["field"]) == (422, "policy")
            assert "night-shift" in problem["detail"]
            token = await paired(service, Scope.VALIDATE, name="ward")
            await service.json("PUT", "/api/v1/freshness-policies/ward", json=body)
            _, answer = await service.json("GET", question, token=token)
            assert answer["decision"] == "accept", "the application's own policy"
            _, answer = await service.json("GET", question)
            assert answer["decision"] == "refuse", "that of nobody else"
            await service.json("DELETE", "/api/v1/freshness-policies/ward")
            _, answer = await service.json("GET", question, token=token)
            assert answer["decision"] == "refuse"


async def test_stored_policies_are_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await service.json(
            "PUT", "/api/v1/freshness-policies/app", json={"expired": "warn", "expired_hours": 3}
        )
        policies = service.services.policies
        assert policies.of("app").expired_hours == 3
    async with running(tmp_path) as service:
        await service.services.policies.load()  # type: ignore[attr-defined]
        assert service.services.policies.of(None, ["other", "app"]).name == "app"


async def test_a_validation_takes_a_stored_policy_and_names_the_field_of_one_that_there_is_not(
    service: Running,
) -> None:
    body = {"certificate": Ca().pem, "policy": {"freshness": "mine"}}
    status, problem = await service.json("POST", "/api/v1/validation", json=body)
    assert (status, problem["fields"][0]["field"]) == (422, "policy.freshness")


@pytest.mark.parametrize("form", ["x-pem-file", "x-pkcs7-certificates", "x-pkcs12"])
async def test_a_bundle_of_nothing_is_refused_and_says_what_to_do(service: Running, form: str) -> None:
    headers = {"Accept": f"application/{form}, application/problem+json"}
    status, problem = await service.json("GET", "/api/v1/trust?scope=production", headers=headers)
    assert (status, problem["type"]) == (404, "urn:cardd:error:nothing_trusted")
    assert "trust/igc_sante" in problem["advice"]
