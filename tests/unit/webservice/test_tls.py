"""TLS on loopback: a certificate from an authority whose key is gone, limited to this machine, made anew in time."""

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from cardd.clock import ManualClock, SystemClock
from cardd_webservice import create_application, reserve_port, serving
from cardd_webservice.guard.browsers import cookie_name
from cardd_webservice.server import TlsPort
from cardd_webservice.tls import CA_FILE, DIRECTORY, TlsKeeper
from tests.support.webservice import make_services


def _ca(state: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((state / DIRECTORY / CA_FILE).read_bytes())


async def test_the_service_answers_by_tls_to_who_trusts_its_authority(tmp_path: Path) -> None:
    services = await make_services(tmp_path)
    keeper = TlsKeeper(tmp_path, services.store, SystemClock())
    await keeper.renew_due()
    reservation, tls = reserve_port(services.settings), reserve_port(services.settings)
    token = (tmp_path / "token").read_text().strip()
    trusting = ssl.create_default_context(cafile=str(tmp_path / DIRECTORY / CA_FILE))
    owner = {"Authorization": f"Bearer {token}"}
    async with (
        serving(
            create_application(services), reservation, services.settings.runtime,
            tls=TlsPort(tls, keeper.context),
        ),
        aiohttp.ClientSession() as http,
    ):  # fmt: skip
        for host in ("localhost", "127.0.0.1", "[::1]"):
            base = f"https://{host}:{tls.port}"
            async with http.get(f"{base}/api/v1/cards", ssl=trusting, headers=owner) as response:
                assert response.status == 200
            own = owner | {"Origin": base}
            async with http.get(f"{base}/api/v1/cards", ssl=trusting, headers=own) as response:
                assert response.status == 200
            plain = owner | {"Origin": base.replace("https", "http")}
            async with http.get(f"{base}/api/v1/cards", ssl=trusting, headers=plain) as response:
                assert response.status == 403
        async with http.post(f"{base}/api/v1/ihm/links", ssl=trusting, headers=owner) as response:
            path = (await response.json())["path"]
        async with http.get(f"{base}{path}", ssl=trusting, allow_redirects=False) as response:
            assert response.cookies[cookie_name(tls.port)]["secure"]
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(f"https://localhost:{tls.port}/")
    await services.store.close()


async def test_the_authority_can_certify_this_machine_only_and_its_key_is_nowhere(tmp_path: Path) -> None:
    services = await make_services(tmp_path)
    await TlsKeeper(tmp_path, services.store, services.clock).renew_due()
    await services.store.close()
    constraints = _ca(tmp_path).extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = constraints.value.permitted_subtrees or []
    assert {str(each.value) for each in permitted} == {"localhost", "127.0.0.1/32", "::1/128"}
    files = {path.name: path for path in (tmp_path / DIRECTORY).iterdir()}
    assert set(files) == {"ca.pem", "server.pem"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.values())
    keys = [path.read_bytes().count(b"PRIVATE KEY-----\n") for path in files.values()]
    assert sorted(keys) == [0, 2], "one key, of the service itself"


async def test_a_certificate_is_kept_and_made_anew_a_month_before_it_ends(tmp_path: Path) -> None:
    services = await make_services(tmp_path)
    clock = services.clock
    assert isinstance(clock, ManualClock)
    keeper = TlsKeeper(tmp_path, services.store, clock)
    await keeper.renew_due()
    first = _ca(tmp_path)
    clock.advance(timedelta(days=794))
    await keeper.renew_due()
    assert _ca(tmp_path) == first
    clock.advance(timedelta(days=2))
    await keeper.renew_due()
    assert _ca(tmp_path) != first
    lines = [line.action for line in await services.store.journal()]
    assert lines == ["tls.certificate_made"] * 2
    await services.store.close()


async def test_a_start_cut_short_between_the_two_files_is_mended(tmp_path: Path) -> None:
    services = await make_services(tmp_path)
    keeper = TlsKeeper(tmp_path, services.store, services.clock)
    await keeper.renew_due()
    authority = _ca(tmp_path)
    for damage in ("", "another authority"):
        (tmp_path / DIRECTORY / CA_FILE).write_text(damage)
        await keeper.renew_due()
        assert _ca(tmp_path) == authority
    (tmp_path / DIRECTORY / "server.pem").write_text("cut")
    await keeper.renew_due()
    assert _ca(tmp_path) != authority
    await services.store.close()
