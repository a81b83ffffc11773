"""`cardd crl …` against a fake daemon: what is asked, what is said, which files there are then."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cardd.cli.crlfiles import export_all
from cardd.cli.exits import ExitCode
from cardd.client import Client
from cardd.revocation.types import CrlId, CrlView, Freshness, PreparedList, SpkiHash
from tests.support.fake_daemon import FakeDaemon, Scripted, problem
from tests.support.revocation import Ca, ec_key
from tests.unit.cli.conftest import TOKEN, Cardd

KEPT = "IGC-SANTE-ACR-EL-TEST"


def view(name: str, der: bytes | None = None, **changes: Any) -> CrlView:
    """A list as the daemon shows it."""
    sha256 = None if der is None else hashlib.sha256(der).hexdigest()
    values: dict[str, Any] = {
        "id": CrlId(name), "issuer": "CN=TEST", "issuer_spki_sha256": SpkiHash("00" * 32), "urls": ("http://x/y",),
        "origin": "added", "state": Freshness.FRESH, "sha256": sha256,
    }  # fmt: skip
    return CrlView(**(values | changes))


def hold(fake: FakeDaemon, **lists: bytes) -> None:
    """Have the daemon hold these lists and no others."""
    items = [view(name, der) for name, der in lists.items()]
    fake.on("GET", "/crls", Scripted(200, {"items": items, "next_cursor": None}))
    for name, der in lists.items():
        fake.on("GET", f"/crls/{name}.crl", Scripted(200, der, "application/pkix-crl"))


@pytest.fixture
def client(fake: FakeDaemon) -> Client:
    """The owner's client."""
    return Client(fake.address, TOKEN)


def test_an_export_has_each_list_as_der_under_its_hash_and_in_one_file(
    cardd: Cardd, fake: FakeDaemon, tmp_path: Path
) -> None:
    first = Ca().crl(5)
    hold(fake, FIRST=first, SECOND=Ca(key=ec_key(1)).crl(6), OTHER=Ca("OTHER").crl())
    target = tmp_path / "lists"
    assert cardd("crl", "export", str(target)).code == ExitCode.OK
    assert (target / "FIRST.crl").read_bytes() == first
    hashed = sorted(path.name for path in target.iterdir() if ".r" in path.name)
    value = subprocess.run(
        ["openssl", "crl", "-in", target / "FIRST.crl", "-inform", "DER", "-hash", "-noout"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert {f"{value}.r0", f"{value}.r1"} < set(hashed)
    assert len(hashed) == 3
    assert (target / "crls.pem").read_bytes().count(b"BEGIN X509 CRL") == 3
    done = cardd("--json", "crl", "export", str(target))
    assert '"written": []' in done.out


def test_what_did_not_change_is_neither_asked_for_nor_written_again(
    fake: FakeDaemon, client: Client, tmp_path: Path
) -> None:
    first, second = Ca().crl(5), Ca("OTHER").crl()
    hold(fake, FIRST=first, OTHER=second)
    export_all(client, tmp_path)
    fake.asked.clear()
    newer = Ca("OTHER").crl(7, number=2)
    hold(fake, FIRST=first, OTHER=newer)
    done = export_all(client, tmp_path)
    assert {"OTHER.crl", "crls.pem"} < set(done.written)
    assert len(done.written) == 3
    assert [each.target for each in fake.asked if each.target.endswith(".crl")] == ["/api/v1/crls/OTHER.crl"]


def test_files_of_a_list_that_is_no_longer_kept_go_and_nobody_elses(
    fake: FakeDaemon, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "mine.crl").write_bytes(b"mine")
    hold(fake, FIRST=Ca().crl(5), OTHER=Ca("OTHER").crl())
    export_all(client, tmp_path)
    hold(fake, FIRST=Ca().crl(5))
    done = export_all(client, tmp_path)
    assert "OTHER.crl" in done.removed
    assert len(done.removed) == 2
    assert not (tmp_path / "OTHER.crl").exists()
    assert (tmp_path / "mine.crl").read_bytes() == b"mine"


def test_a_list_that_cannot_be_had_now_leaves_its_file(
    fake: FakeDaemon, client: Client, tmp_path: Path
) -> None:
    before = Ca().crl(5)
    hold(fake, FIRST=before)
    export_all(client, tmp_path)
    fake.on("GET", "/crls", Scripted(200, {"items": [view("FIRST", b"newer")], "next_cursor": None}))
    fake.on("GET", "/crls/FIRST.crl", problem(503, "crl_unavailable", "not now"))
    assert export_all(client, tmp_path) == ([], [])
    assert (tmp_path / "FIRST.crl").read_bytes() == before


def test_no_half_list_is_ever_under_a_name_that_is_read(
    fake: FakeDaemon, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(fake, FIRST=Ca().crl(5))

    def cut_short(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("os.fsync", cut_short)
        export_all(client, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    export_all(client, tmp_path)
    assert (tmp_path / "FIRST.crl").exists()


def test_a_command_is_run_after_a_change_only(cardd: Cardd, fake: FakeDaemon, tmp_path: Path) -> None:
    hold(fake, FIRST=Ca().crl(5))
    run = f"cp {tmp_path / 'lists' / 'crls.pem'} {tmp_path / 'seen.pem'}"
    cardd("crl", "export", str(tmp_path / "lists"), "--run", run)
    assert (tmp_path / "seen.pem").exists()
    (tmp_path / "seen.pem").unlink()
    cardd("crl", "export", str(tmp_path / "lists"), "--run", run)
    assert not (tmp_path / "seen.pem").exists()


@pytest.mark.parametrize("command", ["false", "/no/such/program", "'"])
def test_a_command_that_fails_is_told_in_one_line_with_the_files_written(
    cardd: Cardd, fake: FakeDaemon, tmp_path: Path, command: str
) -> None:
    hold(fake, FIRST=Ca().crl(5))
    done = cardd("crl", "export", str(tmp_path / "lists"), "--run", command)
    assert done.code == ExitCode.FAILED
    assert f"error: “{command}” failed" in done.err
    assert "Traceback" not in done.err
    assert (tmp_path / "lists" / "FIRST.crl").exists()


def test_prepared_lists_are_switched_on_as_a_group_or_by_name(cardd: Cardd, fake: FakeDaemon) -> None:
    def prepared(name: str, *, held: bool, kept: bool = False) -> PreparedList:
        crl = view(f"IGC-SANTE-{name}") if kept else None
        return PreparedList(name=name, authority=f"AC {name}", url="http://x/y", held=held, crl=crl)

    items = [prepared("ACR-EL-TEST", held=True, kept=True), prepared("ACR-FO-TEST", held=False)]
    fake.on("GET", "/prepared-crls", Scripted(200, {"items": items}))
    shown = cardd("crl", "prepared").out
    assert "not held" in shown
    assert "fresh" in shown
    fake.on("PUT", "/prepared-crls/ACR-EL-TEST", Scripted(200, view(KEPT)))
    done = cardd("crl", "enable", "igc-sante")
    assert (done.code, done.err) == (ExitCode.OK, f"{KEPT} is kept.\n")
    fake.on("PUT", "/prepared-crls/ACR-FO-TEST", problem(409, "authority_not_held", "Not held."))
    assert cardd("crl", "enable", "ACR-FO-TEST").code == ExitCode.REFUSED
    fake.on("DELETE", "/prepared-crls/ACR-EL-TEST", Scripted(204))
    assert "ACR-EL-TEST is no longer kept" in cardd("crl", "disable", "igc-sante").err


def test_a_list_is_added_with_further_addresses_and_cas_and_its_first_fetch_awaited(
    cardd: Cardd, fake: FakeDaemon, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text(Ca().pem)
    (tmp_path / "other.pem").write_text(Ca("OTHER").pem)
    fake.on("POST", "/crls", Scripted(201, view("new", state=Freshness.UNAVAILABLE)))
    fake.on("POST", "/crls/new/refresh", Scripted(200, view("new", entries=7)))
    done = cardd(
        "crl", "add", "http://a/1.crl", "http://b/1.crl", "--issuer", str(tmp_path / "ca.pem"),
        "--delta-url", "http://a/d.crl", "--also-for", str(tmp_path / "other.pem"),
    )  # fmt: skip
    assert done.code == ExitCode.OK
    assert done.out.splitlines()[-1].split() == ["entries", "7"]
    body = next(each.body for each in fake.asked if each.target.endswith("/crls"))
    assert body["urls"] == ["http://a/1.crl", "http://b/1.crl"]
    assert body["delta_urls"] == ["http://a/d.crl"]
    assert len(body["certificate_issuers"]) == 1


def test_policies_are_set_listed_and_removed(cardd: Cardd, fake: FakeDaemon) -> None:
    stored = {
        "name": "app", "stale": "warn", "expired": "warn", "expired_hours": 12, "built_in": False, "default": False
    }  # fmt: skip
    fake.on("PUT", "/freshness-policies/app", Scripted(200, stored))
    fake.on("GET", "/freshness-policies", Scripted(200, {"items": [stored]}))
    fake.on("DELETE", "/freshness-policies/app", Scripted(204))
    assert "12" in cardd("crl", "policy", "set", "app", "--expired", "warn", "--hours", "12").out
    assert fake.asked[-1].body == {"stale": "warn", "expired": "warn", "expired_hours": 12}
    assert "stored" in cardd("crl", "policy", "list").out
    assert "forgotten" in cardd("crl", "policy", "remove", "app").err


def test_learning_says_what_is_new_or_why_nothing_is(cardd: Cardd, fake: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").write_text(Ca().pem)
    fake.on("POST", "/learned-crls", Scripted(200, {"items": [view("ab12")]}), Scripted(200, {"items": []}))
    assert "ab12 is kept. http://x/y" in cardd("crl", "learn", str(tmp_path / "leaf.pem")).err
    assert "Nothing new" in cardd("crl", "learn", str(tmp_path / "leaf.pem")).err
