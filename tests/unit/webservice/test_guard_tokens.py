"""The owner's token: its file, and what calls without it get."""

import stat
from pathlib import Path

import pytest

from cardd_webservice.guard.tokens import TokenFileError, ensure_owner_token, ensure_request_secret
from tests.support.webservice import Running


def test_a_token_is_made_once_with_256_bits_for_its_owner_only(tmp_path: Path) -> None:
    first = ensure_owner_token(tmp_path)
    value = (tmp_path / "token").read_text().strip()
    assert len(value) == 43
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert first.matches(value)
    assert ensure_owner_token(tmp_path).matches(value)
    assert list(tmp_path.iterdir()) == [tmp_path / "token"]


def test_requests_are_told_apart_under_one_secret_whatever_the_token(tmp_path: Path) -> None:
    token, secret = ensure_owner_token(tmp_path), ensure_request_secret(tmp_path)
    token.rotate(tmp_path)
    assert ensure_request_secret(tmp_path) == secret
    assert secret not in {b"", (tmp_path / "token").read_bytes().strip()}


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    token = ensure_owner_token(tmp_path)
    assert (tmp_path / "token").read_text().strip() not in repr(token)


@pytest.mark.parametrize("presented", ["", "x", "é" * 43, "\udcff"])
def test_other_values_do_not_match(tmp_path: Path, presented: str) -> None:
    assert not ensure_owner_token(tmp_path).matches(presented)


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    ensure_owner_token(tmp_path)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(TokenFileError):
        ensure_owner_token(tmp_path)


@pytest.mark.parametrize("content", ["", "short\n", "x" * 5000])
def test_a_damaged_token_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(content)
    with pytest.raises(TokenFileError):
        ensure_owner_token(tmp_path)


def test_a_token_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    ensure_owner_token(tmp_path)
    (state / "token").symlink_to(tmp_path / "token")
    with pytest.raises(TokenFileError):
        ensure_owner_token(state)


@pytest.mark.parametrize(
    "path", ["/api/v1/orders", "/api/v1/cards", "/metrics", "/api/v1/openapi.json", "/api/v1/x"]
)
async def test_a_call_without_a_token_is_answered_401(service: Running, path: str) -> None:
    async with service.call("GET", path, token=None) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="cardd"'
        assert (await response.json(content_type=None))["type"] == "urn:cardd:error:unauthenticated"


@pytest.mark.parametrize("path", ["/api/v1/orders", "/api/v1/health", "/"])
async def test_a_wrong_token_is_answered_401_even_where_none_is_needed(service: Running, path: str) -> None:
    for header in ("Bearer wrong", "Bearer", "Basic YTpi", service.token):
        async with service.call("GET", path, token=None, headers={"Authorization": header}) as response:
            assert response.status == 401
            assert "invalid_token" in response.headers["WWW-Authenticate"]


async def test_health_is_public_and_its_details_are_not(service: Running) -> None:
    assert await service.json("GET", "/api/v1/health", token=None) == (200, {"status": "ok"})
    status, health = await service.json("GET", "/api/v1/health")
    assert status == 200
    assert health["parts"][0]["name"] == "store"
