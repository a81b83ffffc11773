"""Errors as callers see them."""

import errno
from datetime import UTC, datetime

import msgspec
import pytest
from structlog.testing import capture_logs

from cardd.errors import CarddError, ConflictError
from cardd.orders.types import HabilitationForm, OrderRequest
from cardd.text import Text
from cardd_webservice.problems import problem
from cardd_webservice.validation import invalid_fields
from tests.support.webservice import Running, form, order_request

JSON = {"Content-Type": "application/json"}


class _TriesError(CarddError):
    code = "tries"
    status = 403
    title = Text("Wrong", "Faux")


def test_a_problem_carries_code_status_sentences_and_data() -> None:
    error = _TriesError(
        Text("No.", "Non."),
        advice=Text("Try.", "Essayez."),
        tries_left=2,
        status="not this",
        conflict={"why": Text("old", "vieux"), "since": datetime(2026, 1, 1, tzinfo=UTC)},
    )
    answer = problem(error, "fr")
    assert answer.status == 403
    assert answer.content_type == "application/problem+json"
    assert msgspec.json.decode(answer.body) == {  # type: ignore[arg-type]  # bytes, as made above
        "type": "urn:cardd:error:tries",
        "title": "Faux",
        "status": 403,
        "detail": "Non.",
        "advice": "Essayez.",
        "tries_left": 2,
        "conflict": {"why": "vieux", "since": "2026-01-01T00:00:00Z"},
    }


def test_a_wait_is_said_in_the_header_too() -> None:
    error = ConflictError(Text("Later.", "Plus tard."), retry_after=60)
    assert problem(error, "en").headers["Retry-After"] == "60"


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"key": {"source": "usb"}}, "key.source", "'usb' is not one of: csr, token"),
        ({"key": {"sauce": "csr"}}, "key.sauce", "not a known name"),
        ({"offer": "XYZ"}, "offer", "'XYZ' is not one of: ORG, SERV, PRO, PS"),
        ({"contacts": ["a@b.fr", 3]}, "contacts[1]", "must be of type str, not int"),
        ({"structure": ""}, "structure", "at least 1"),
        ({"service": "x" * 300}, "service", "at most 256"),
        ({"contacts": ["a@b.fr"] * 21}, "contacts", "at most 20 elements"),
        ({"person": {"first_name": "A"}}, "person.last_name", "is required"),
        ({"surprise": 1}, "surprise", "not a known name"),
    ],
)
def test_a_field_that_breaks_a_rule_is_named_with_the_rule(
    change: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(order_request(**change), OrderRequest)
    (found,) = invalid_fields(caught.value, OrderRequest).fields
    assert found.field == field
    assert words in found.problem.en
    assert found.problem.fr != found.problem.en


def test_the_type_of_a_whole_body_is_named_too() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert([], HabilitationForm)
    (found,) = invalid_fields(caught.value, HabilitationForm).fields
    assert found.field == "body"


async def test_problems_are_told_in_the_callers_language(service: Running) -> None:
    for language, title in (("fr-FR,en;q=0.5", "Introuvable"), ("en", "Not found"), ("de", "Not found")):
        async with service.call(
            "GET", "/api/v1/orders/none", headers={"Accept-Language": language}
        ) as response:
            assert response.status == 404
            assert (await response.json(content_type=None))["title"] == title


async def test_an_unknown_path_and_a_wrong_method_are_problems(service: Running) -> None:
    status, found = await service.json("GET", "/api/v1/nothing")
    assert (status, found["type"]) == (404, "urn:cardd:error:not_found")
    async with service.call("PATCH", "/api/v1/orders") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, POST"
        assert response.content_type == "application/problem+json"


async def test_what_nobody_foresaw_shows_a_reference_and_nothing_else(service: Running) -> None:
    service.orders.failure = RuntimeError("the secret is 1234")
    headers = {"Card-Session": await service.session()}
    with capture_logs() as logs:
        status, found = await service.json("POST", "/api/v1/orders", json=order_request(), headers=headers)
    assert status == 500
    assert found["type"] == "urn:cardd:error:internal_error"
    assert "1234" not in str(found)
    assert "Traceback" not in str(found)
    (line,) = [entry for entry in logs if entry["event"] == "unexpected_error"]
    assert line["reference"] == found["reference"]


async def test_a_validation_error_inside_a_room_is_not_blamed_on_the_caller(service: Running) -> None:
    service.orders.failure = msgspec.ValidationError("Expected `int`, got `str` - at `$.row`")
    headers = {"Card-Session": await service.session()}
    with capture_logs():
        status, _ = await service.json("POST", "/api/v1/orders", json=order_request(), headers=headers)
    assert status == 500


async def test_a_form_is_refused_with_the_field_in_french(service: Running) -> None:
    wrong = form() | {"offers": []}
    async with service.call(
        "POST", "/api/v1/habilitations", json=wrong, headers={"Accept-Language": "fr"}
    ) as response:
        assert response.status == 422
        found = await response.json(content_type=None)
    assert found["fields"] == [{"field": "offers", "problem": "doit avoir au moins 1 élément(s)"}]


async def test_what_the_machine_has_run_out_of_is_a_503_to_be_repeated(service: Running) -> None:
    headers = {"Card-Session": await service.session()}
    service.orders.failure = OSError(errno.EMFILE, "Too many open files")
    status, answer = await service.json("POST", "/api/v1/orders", json=order_request(), headers=headers)
    assert (status, answer["type"]) == (503, "urn:cardd:error:resources_exhausted")
    service.orders.failure = OSError(errno.ENOENT, "secret path")
    status, answer = await service.json("POST", "/api/v1/orders", json=order_request(), headers=headers)
    assert (status, "secret" in str(answer)) == (500, False)
