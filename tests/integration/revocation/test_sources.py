"""Where lists come from: certificates, settings, what is prepared; and how they are reached: proxies, HTTPS."""

import base64
import ipaddress
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cardd.errors import NotFoundError
from cardd.revocation import proxies
from cardd.revocation.configured import configured_sources, configured_tls
from cardd.revocation.errors import FetchFailedError, SourceFixedError
from cardd.revocation.fetching import Fetcher, FetchPolicy, Validators
from cardd.revocation.learning import Learner
from cardd.revocation.prepared import AuthorityNotHeldError, PreparedLists
from cardd.revocation.proxies import Proxies
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import CrlId, Freshness, Status
from cardd.settings import CrlSettings, RevocationSettings, SettingsError
from tests.support.revocation import START, Bench, Ca, bench, ec_key, name, own_list, serving

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

PUBLIC = "http://lists.example.org/x.crl"


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, private=lambda _: False) as found:
        yield found


def _points(*urls: str, **more: object) -> x509.CRLDistributionPoints:
    values = {"relative_name": None, "reasons": None, "crl_issuer": None} | more
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, **values)])  # type: ignore[arg-type]


def _learner(cached: Bench, *held: Ca) -> Learner:
    return Learner(TrustStore(lambda: [each.certificate for each in held], cached.directory), cached.cache)


# What certificates name


async def test_a_list_named_by_a_certificate_of_a_held_ca_is_fetched_verified_and_answers(
    empty: Bench,
) -> None:
    url = empty.server.on("/named.crl", empty.ca.crl(5))
    leaf = empty.ca.issue(5, _points("ldap://directory.example.org/cn=x", url))
    (view,) = await _learner(empty, empty.ca).learn(leaf)
    assert (view.origin, view.urls) == ("certificate", (url,))
    assert (await empty.settle(view.id)).state is Freshness.FRESH
    assert (await empty.cache.status_of(leaf)).status is Status.REVOKED
    assert await _learner(empty, empty.ca).learn(empty.ca.issue(6, _points(url))) == []


async def test_nothing_is_learnt_from_a_certificate_whose_issuer_is_not_held_or_did_not_sign_it(
    empty: Bench,
) -> None:
    learner = _learner(empty, empty.ca)
    assert await learner.learn(Ca("STRANGER", ec_key(3)).issue(1, _points(PUBLIC))) == []
    assert await learner.learn(Ca(key=ec_key(3)).issue(1, _points(PUBLIC))) == [], "the name is not enough"
    assert empty.cache.lists() == []


async def test_the_lists_of_the_cas_above_are_learnt_with_it(empty: Bench) -> None:
    root, above = Ca("ROOT", ec_key(1)), "http://lists.example.org/root.crl"
    middle = Ca("MIDDLE", ec_key(2), issuer=root, extensions=(_points(above),))
    found = await _learner(empty, root, middle).learn(middle.issue(1, _points(PUBLIC)))
    assert [each.urls for each in found] == [(PUBLIC,), (above,)]
    assert [each.issuer for each in found] == ["CN=MIDDLE", "CN=ROOT"]


async def test_a_point_with_a_list_issuer_of_its_own_and_another_kind_of_address_are_passed_over(
    empty: Bench,
) -> None:
    learner = _learner(empty, empty.ca)
    other = [x509.DirectoryName(name("LIST SIGNER"))]
    assert await learner.learn(empty.ca.issue(1, _points(PUBLIC, crl_issuer=other))) == []
    assert (
        await learner.learn(empty.ca.issue(1, _points("ldap://x.example.org/cn=x", "file:///etc/passwd")))
        == []
    )
    assert await learner.learn(empty.ca.issue(1)) == []


async def test_a_certificate_does_not_make_the_daemon_call_a_private_address(tmp_path: Path) -> None:
    async with bench(tmp_path) as found:
        url = found.server.on("/internal", found.ca.crl(5))
        (view,) = await _learner(found, found.ca).learn(found.ca.issue(1, _points(url)))
        view = await found.settle(view.id)
        assert (view.state, view.last_error_code) == (Freshness.UNAVAILABLE, "private_address")
        assert found.server.asked == []


async def test_the_local_pkis_own_lists_are_not_fetched_although_its_certificates_name_them(
    empty: Bench,
) -> None:
    empty.local.lists = [own_list(CrlId("OWN"), empty.ca, empty.ca.crl(5))]
    await empty.cache.take_local()
    assert await _learner(empty, empty.ca).learn(empty.ca.issue(1, _points(PUBLIC))) == []
    assert [each.id for each in empty.cache.lists()] == ["OWN"]


# What the settings name


def _file(directory: Path, ca: Ca) -> str:
    path = directory / f"{ca.common_name}.pem"
    path.write_text(ca.pem)
    return str(path)


async def test_lists_of_the_settings_are_kept_followed_and_forgotten_with_them(tmp_path: Path) -> None:
    ca, other = Ca(), Ca("OTHER", ec_key(1))
    async with serving() as server:
        broken = server.on("/broken.crl", b"<html>")
        each = CrlSettings(
            url=broken, urls=(server.on("/list.crl", ca.crl(5, number=1)),), issuer_certificate=_file(tmp_path, ca),
            delta_urls=(server.on("/delta.crl", ca.crl(6, number=2, base=1)),),
            certificate_issuers=(_file(tmp_path, other),),
        )  # fmt: skip
        wanted = configured_sources(RevocationSettings(lists=(each,)))
        async with bench(tmp_path, fixed=wanted) as found:
            await found.due()
            (view,) = found.cache.lists()
            assert (view.origin, view.state, view.number, view.delta_number) == ("settings", "fresh", 1, 2)
            assert [found.ask(serial).status for serial in (5, 6, 7)] == ["revoked", "revoked", "good"]
            with pytest.raises(SourceFixedError):
                await found.cache.remove(view.id)
        fewer = configured_sources(
            RevocationSettings(lists=(CrlSettings(url=broken, issuer_certificate=each.issuer_certificate),))
        )
        async with bench(tmp_path, fixed=fewer) as found:
            (view,) = found.cache.lists()
            assert (view.urls, view.number) == ((broken,), 1)
        async with bench(tmp_path) as found:
            assert found.cache.lists() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "ldap://directory/cn=x"}, "LDAP is not supported"),
        ({"delta_urls": ("ftp://x/y",)}, "is not an http or https address"),
        ({"issuer_certificate": "/nowhere/ca.pem"}, "/nowhere/ca.pem: No such file"),
        ({"certificate_issuers": ("/dev/null",)}, "is not a certificate"),
    ],
)
def test_a_list_of_the_settings_that_cannot_be_kept_is_told_by_name(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    values: dict[str, object] = {"url": PUBLIC, "issuer_certificate": _file(tmp_path, Ca())}
    each = CrlSettings(**(values | changes))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=words) as caught:
        configured_sources(RevocationSettings(lists=(each,)))
    assert "revocation.lists.0" in caught.value.detail.fr


# What is prepared


async def test_the_lists_of_igc_sante_test_are_prepared_off_and_switched_on_one_by_one(empty: Bench) -> None:
    prepared = PreparedLists(TrustStore(list, empty.directory / "trust"), empty.cache)
    shown = {each.name: each for each in await prepared.all()}
    assert len(shown) == 9
    assert all(each.crl is None for each in shown.values())
    assert {each.name for each in shown.values() if each.held} == {"ACR-EL-TEST", "ACI-EL-ORG-TEST"}
    one = shown["ACI-EL-ORG-TEST"]
    assert one.url == "http://igc-sante.esante.gouv.fr/CRL/ACI-EL-ORG-TEST.crl"
    assert one.authority == "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"

    view = await prepared.enable("ACI-EL-ORG-TEST")
    assert (view.id, view.urls, view.origin) == ("IGC-SANTE-ACI-EL-ORG-TEST", (one.url,), "added")
    assert (await prepared.enable("ACI-EL-ORG-TEST")).id == view.id
    assert [each.crl.id for each in await prepared.all() if each.crl is not None] == [view.id]
    await prepared.disable("ACI-EL-ORG-TEST")
    assert empty.cache.lists() == []
    with pytest.raises(AuthorityNotHeldError, match="AC RACINE IGC-SANTE FORT"):
        await prepared.enable("ACR-FO-TEST")
    with pytest.raises(NotFoundError):
        await prepared.enable("ACI-EL-ORG")


def test_the_setting_for_igc_sante_keeps_the_lists_of_the_certificates_in_its_directory() -> None:
    anchors = Path(__file__).parents[3] / "cardd" / "revocation" / "anchors" / "igc_sante_test"
    found = configured_sources(RevocationSettings(igc_sante=str(anchors)))
    assert {each.id for each in found} == {"IGC-SANTE-ACI-EL-ORG-TEST", "IGC-SANTE-ACR-EL-TEST"}
    assert {each.origin for each in found} == {"igc-sante"}
    with pytest.raises(SettingsError, match="igc_sante: /nowhere"):
        configured_sources(RevocationSettings(igc_sante="/nowhere"))


# How they are reached


async def test_a_proxy_of_the_settings_is_used_with_its_password_and_for_names_it_resolves(
    tmp_path: Path,
) -> None:
    async with serving() as proxy:

        async def relay(request: web.Request) -> web.Response:
            assert (
                base64.b64decode(request.headers["Proxy-Authorization"].removeprefix("Basic "))
                == b"user:pass"
            )
            return web.Response(body=b"relayed")

        proxy.on("/list.crl", relay)
        through = proxy.base.replace("http://", "http://user:pass@")
        fetcher = Fetcher(FetchPolicy(), tmp_path, proxies=proxies.chosen(through, ""))
        url = "http://only-the-proxy-knows.invalid/list.crl"
        fetched = await fetcher.fetch(url, Validators(), may_be_private=False)
        assert fetched.path is not None
        assert fetched.path.read_bytes() == b"relayed"
        assert proxy.asked[0].host == "only-the-proxy-knows.invalid"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_or_is_gone_is_told_without_its_password(
    tmp_path: Path, scheme: str
) -> None:
    async def refused(through: str) -> None:
        fetcher = Fetcher(FetchPolicy(connect_seconds=2), tmp_path, proxies=proxies.chosen(through, ""))
        with pytest.raises(FetchFailedError) as caught:
            await fetcher.fetch(f"{scheme}://lists.invalid/x.crl", Validators())
        assert caught.value.rule == "proxy"
        assert "s3cret" not in caught.value.detail.en + caught.value.detail.fr

    async with serving() as proxy:
        through = proxy.base.replace("http://", "http://user:s3cret@")

        async def refuse(_: web.Request) -> web.Response:
            return web.Response(status=407)

        proxy.on("/x.crl", refuse)
        await refused(through)
    await refused(through)


async def test_through_a_proxy_too_no_redirect_leads_to_a_private_number(tmp_path: Path) -> None:
    async with serving() as proxy:

        async def lead(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest"})

        proxy.on("/list.crl", lead)
        fetcher = Fetcher(FetchPolicy(), tmp_path, proxies=proxies.chosen(proxy.base, ""))
        with pytest.raises(FetchFailedError) as caught:
            await fetcher.fetch("http://lists.invalid/list.crl", Validators())
        assert caught.value.rule == "private_address"
        assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    ("proxy", "no_proxy", "environment", "url", "through"),
    [
        ("", "", {}, "http://a.fr/x", None),
        ("", "", {"http_proxy": "http://p:1"}, "http://a.fr/x", "http://p:1"),
        ("", "", {"HTTP_PROXY": "http://p:1"}, "https://a.fr/x", None),
        ("", "", {"HTTPS_PROXY": "http://p:2"}, "https://a.fr/x", "http://p:2"),
        ("", "", {"http_proxy": "http://p:1", "no_proxy": "b.fr,a.fr"}, "http://lists.a.fr/x", None),
        ("", "", {"http_proxy": "http://p:1", "NO_PROXY": ".a.fr"}, "http://nota.fr/x", "http://p:1"),
        ("http://q:1", "", {"http_proxy": "http://p:1", "no_proxy": "*"}, "https://a.fr/x", "http://q:1"),
        ("http://q:1", "a.fr", {}, "http://a.fr/x", None),
        ("none", "", {"http_proxy": "http://p:1"}, "http://a.fr/x", None),
    ],
)  # fmt: skip
def test_the_proxy_is_that_of_the_settings_else_of_the_environment(
    proxy: str, no_proxy: str, environment: dict[str, str], url: str, through: str | None
) -> None:
    assert proxies.chosen(proxy, no_proxy, environment).of(url) == through


async def test_lists_come_over_https_from_servers_that_a_ca_of_the_settings_certifies(tmp_path: Path) -> None:
    ca = Ca("SERVERS")
    (tmp_path / "ca.pem").write_text(ca.pem)
    async with serving(tls=_server_context(ca, tmp_path)) as server:
        url = server.on("/list.crl", b"over TLS")
        with pytest.raises(FetchFailedError) as caught:
            await Fetcher(FetchPolicy(), tmp_path).fetch(url, Validators())
        assert caught.value.rule == "tls"
        trusting = configured_tls(RevocationSettings(ca_file=str(tmp_path / "ca.pem")))
        fetched = await Fetcher(FetchPolicy(), tmp_path, tls=trusting).fetch(url, Validators())
        assert fetched.path is not None
        assert fetched.path.read_bytes() == b"over TLS"
        other = url.replace("127.0.0.1", "localhost")
        with pytest.raises(FetchFailedError) as caught:
            await Fetcher(FetchPolicy(), tmp_path, tls=trusting).fetch(other, Validators())
        assert caught.value.rule == "tls", "the server's certificate names another host"


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_ca_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"revocation.ca_file: .*ca\.pem"):
        configured_tls(RevocationSettings(ca_file=str(path)))
    assert configured_tls(RevocationSettings()) is None


def test_no_proxy_excepts_hosts_and_what_is_below_them() -> None:
    found = Proxies("http://p:1", None, " a.fr , .b.fr ")
    assert [found.of(f"http://{host}/") for host in ("a.fr", "x.b.fr", "c.fr")] == [None, None, "http://p:1"]


def _server_context(ca: Ca, directory: Path) -> ssl.SSLContext:
    """Return what a server on 127.0.0.1 shows, certified by a CA."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(ca.certificate.subject, subject, ec_key(8).public_key(), 77)
        .not_valid_before(min(START, now) - timedelta(days=1))
        .not_valid_after(max(START, now) + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(ca.key, hashes.SHA256())
    )
    path = directory / "server.pem"
    key = ec_key(8).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
