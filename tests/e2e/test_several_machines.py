"""Three machines on one PostgreSQL: two that hold the CA keys, in namespaces of their own, and one that asks them."""

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.support.namespaces import DistantDaemon, join, namespaces
from tests.support.orders import new_csr
from tests.support.running import QUICK, Answer, RunningDaemon
from tests.support.stores import PostgresqlServer, running_postgresql

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "several-machines.md"
PASSWORD = "a-password-of-the-tests"
CODE = {"revocation_code": "code-1234", "confirmation": "code-1234", "accept_terms": True}
CRL = "/CRL/ACI-EL-ORG-TEST.crl"
#: Longest wait for what comes by itself, in seconds; how long it took is recorded, not asserted.
PATIENCE = 30.0


@dataclass
class Machines:
    """Two machines with the CA keys and one without, all started."""

    first: DistantDaemon
    second: DistantDaemon
    member: DistantDaemon
    database: PostgresqlServer


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    directory = tmp_path_factory.mktemp("machines")
    password = directory / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    with namespaces(3) as (database, one, two):
        join(database, "10.231.1.1", one, "10.231.1.2")
        join(database, "10.231.2.1", two, "10.231.2.2")
        join(one, "10.231.3.1", two, "10.231.3.2")
        with running_postgresql(listen=("10.231.1.1", "10.231.2.1"), launcher=database.launcher) as server:
            asyncio.run(server.administer(f"ALTER USER postgres PASSWORD '{PASSWORD}'"))
            asyncio.run(server.administer("CREATE DATABASE cardd"))
            common = {
                **QUICK,
                "CARDD_PKI__CA_ALGORITHM": "ec_p256",
                "CARDD_PUBLICATION__URL": "http://pki.example",
                "CARDD_STORE__PASSWORD_FILE": str(password),
                "CARDD_READERS__PCSC": "off",
            }
            holding = {**common, "CARDD_PKI__DIRECTORY": str(directory / "ca")}
            at_one = {"CARDD_STORE__URL": "postgresql://postgres@10.231.1.1/cardd"}
            at_two = {"CARDD_STORE__URL": "postgresql://postgres@10.231.2.1/cardd"}
            found = Machines(
                DistantDaemon(
                    directory / "first",
                    {**holding, **at_one, "CARDD_MACHINES__LISTEN": "10.231.3.1:8981"},
                    one,
                ),
                DistantDaemon(directory / "second", {**holding, **at_two}, two),
                DistantDaemon(directory / "member", {**common, **at_two}, two),
                server,
            )
            try:
                found.first.start()
                found.second.start()
                found.member.start()
                yield found
            finally:
                for each in (found.first, found.second, found.member):
                    each.kill()


@pytest.fixture(scope="module")
def enrolled(machines: Machines) -> Machines:
    """The machines, the member enrolled and with its card."""
    found = machines.first.call("GET", "/api/v1/machines").json["items"]
    certificate = next(
        each["certificate_sha256"]
        for each in machines.member.call("GET", "/api/v1/machines").json["items"]
        if each["here"]
    )
    member = next(each["id"] for each in found if each["certificate_sha256"] == certificate)
    _follow_page(machines.first, member)
    machines.member.stop()
    machines.member.start()
    return machines


def _follow_page(daemon: RunningDaemon, machine: str) -> None:
    """Enrol a machine as the page for operators says."""
    (block,) = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    script = f'cardd() {{ {sys.executable} -m cardd.cli "$@"; }}\n{block}'
    subprocess.run(
        [*daemon.launcher, "bash", "-eu", "-c", script],
        env={**daemon.environment, "machine": machine},
        check=True,
        capture_output=True,
    )


def _order(daemon: RunningDaemon, key: dict[str, str]) -> tuple[Answer, str]:
    session, habilitation = daemon.open_session()
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": habilitation["structures"][0]["id"],
        "service": "SHARED", "contacts": ["tests@example.org"], "key": key,
    }  # fmt: skip
    return daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session}), session


def _retrieve(daemon: RunningDaemon, order: str, session: str) -> Answer:
    path = f"/api/v1/orders/{order}/retrieval"
    return daemon.call("POST", path, CODE, headers={"Card-Session": session})


def _certificate(daemon: RunningDaemon) -> dict[str, Any]:
    """Order and retrieve a certificate for a new key on a token of the machine's."""
    answer, session = _order(daemon, {"source": "token", "algorithm": "ec_p256"})
    assert answer.status == 201, answer.body
    retrieved = _retrieve(daemon, answer.json["id"], session)
    assert retrieved.status == 201, retrieved.body
    found: dict[str, Any] = retrieved.json
    return found


def _revoke(daemon: RunningDaemon, serial: str) -> None:
    answer = daemon.call("POST", f"/api/v1/certificates/{serial}/revocation", {"reason": "superseded"})
    assert answer.status == 200, answer.body


def _until(holds: Callable[[], bool]) -> float:
    """Wait for what other processes bring about, and return how long it took, in seconds."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < PATIENCE
        time.sleep(0.01)
    return time.monotonic() - started


def _lists(daemon: RunningDaemon, serial: str) -> bool:
    found = x509.load_der_x509_crl(daemon.call("GET", CRL, token=None).body)
    return found.get_revoked_certificate_by_serial_number(int(serial, 16)) is not None


def _ocsp_status(daemon: RunningDaemon, serial: str) -> ocsp.OCSPCertStatus | ocsp.OCSPResponseStatus:
    certificate = daemon.call("GET", "/AC/ACI-EL-ORG-TEST.cer", token=None).body
    issuer = x509.load_der_x509_certificate(certificate)
    path = f"/api/v1/certificates/{serial}"
    issued = daemon.call("GET", path, headers={"Accept": "application/pkix-cert"}).body
    request = ocsp.OCSPRequestBuilder().add_certificate(
        x509.load_der_x509_certificate(issued), issuer, SHA256()
    )
    connection = daemon.connect()
    connection.request(
        "POST",
        "/ocsp",
        request.build().public_bytes(Encoding.DER),
        {"Content-Type": "application/ocsp-request"},
    )
    response = ocsp.load_der_ocsp_response(connection.getresponse().read())
    connection.close()
    successful = response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    return response.certificate_status if successful else response.response_status


def _heard(daemon: RunningDaemon, text: str, ready: Callable[[], None]) -> float:
    """Follow a machine's events, call `ready`, and return how long it took until `text` came, in seconds."""
    connection = daemon.connect()
    headers = {"Authorization": f"Bearer {daemon.token}"}
    connection.request("GET", "/api/v1/events", headers=headers)
    stream = connection.getresponse()
    assert stream.readline().startswith(b": connected")
    started = time.monotonic()
    ready()
    while text.encode() not in stream.readline():
        assert time.monotonic() - started < PATIENCE
    connection.close()
    return time.monotonic() - started


def test_concurrent_identical_orders_on_two_machines_give_one_holder(machines: Machines) -> None:
    key = {"source": "csr", "csr": new_csr()}
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda machine: _order(machine, key)[0], (machines.first, machines.second)))
    assert sorted(answer.status for answer in answers) == [201, 409]
    refused = next(answer.json for answer in answers if answer.status == 409)
    made = next(answer.json for answer in answers if answer.status == 201)
    assert (refused["type"], refused["conflict"]["holder"]) == (
        "urn:cardd:error:key_already_held",
        made["id"],
    )


def test_a_revocation_on_one_machine_is_in_the_others_list_ocsp_and_events(
    machines: Machines, record_property: Callable[[str, object], None]
) -> None:
    serial = _certificate(machines.first)["serial"]
    assert _ocsp_status(machines.second, serial) is ocsp.OCSPCertStatus.GOOD
    heard = _heard(machines.second, f"certificate:{serial}", lambda: _revoke(machines.first, serial))
    listed = _until(lambda: _lists(machines.second, serial))
    answered = _until(lambda: _ocsp_status(machines.second, serial) is ocsp.OCSPCertStatus.REVOKED)
    record_property("seconds until event, list, OCSP", (heard, listed, answered))


def test_killing_the_machine_that_builds_the_lists_moves_its_work_to_the_other(
    machines: Machines, record_property: Callable[[str, object], None]
) -> None:
    serials = [_certificate(machines.second)["serial"] for _ in range(2)]
    numbers = [machines.second.call("GET", "/api/v1/crls/ACI-EL-ORG-TEST").json["number"]]
    with ThreadPoolExecutor(1) as apart:
        revoking = apart.submit(_revoke_if_it_lives, machines.first, serials[0])
        _until(lambda: _is_revoked(machines.second, serials[0]))
        machines.first.kill()  # between the commit of the revocation and the end of the publication, or just after
        revoking.result()
    taken_over = _until(lambda: _lists(machines.second, serials[0]))
    _revoke(machines.second, serials[1])
    assert _lists(machines.second, serials[1])
    machines.first.start()
    assert all(_lists(machines.first, serial) for serial in serials)
    numbers.append(machines.first.call("GET", "/api/v1/crls/ACI-EL-ORG-TEST").json["number"])
    assert numbers == sorted(set(numbers))
    record_property("seconds until taken over", taken_over)


def _revoke_if_it_lives(daemon: RunningDaemon, serial: str) -> None:
    try:
        _revoke(daemon, serial)
    except (OSError, AssertionError):
        return


def _is_revoked(daemon: RunningDaemon, serial: str) -> bool:
    return bool(daemon.call("GET", f"/api/v1/certificates/{serial}").json["state"] == "revoked")


def test_a_builder_that_hangs_keeps_nobody_else_from_revoking(machines: Machines) -> None:
    serial = _certificate(machines.second)["serial"]
    machines.first.signal(signal.SIGSTOP)
    try:
        _revoke(machines.second, serial)
        assert _lists(machines.second, serial)
    finally:
        machines.first.signal(signal.SIGCONT)


def test_an_enrolled_machine_has_its_certificates_and_answers_signed(enrolled: Machines) -> None:
    issued = _certificate(enrolled.member)
    assert _ocsp_status(enrolled.member, issued["serial"]) is ocsp.OCSPCertStatus.GOOD
    _revoke(enrolled.member, issued["serial"])
    assert _lists(enrolled.member, issued["serial"])
    assert _ocsp_status(enrolled.member, issued["serial"]) is ocsp.OCSPCertStatus.REVOKED
    lines = enrolled.first.call("GET", "/api/v1/audit?limit=200").json["items"]
    signed = [each["subject"] for each in lines if each["action"] == "certificate.signed_for_machine"]
    assert f"certificate:{issued['serial']}" in signed


def test_without_a_signing_machine_the_error_says_so_and_the_order_waits(enrolled: Machines) -> None:
    answer, session = _order(enrolled.member, {"source": "token", "algorithm": "ec_p256"})
    enrolled.first.kill()
    refused = _retrieve(enrolled.member, answer.json["id"], session)
    assert (refused.status, refused.json["type"]) == (503, "urn:cardd:error:signing_machine_unavailable")
    assert refused.headers["retry-after"]
    enrolled.first.start()
    assert _retrieve(enrolled.member, answer.json["id"], session).status == 201


def test_a_machine_whose_enrolment_was_taken_back_gets_nothing_signed(enrolled: Machines) -> None:
    listed = enrolled.member.call("GET", "/api/v1/machines").json["items"]
    member = next(each["id"] for each in listed if each["here"])
    answer, session = _order(enrolled.member, {"source": "token", "algorithm": "ec_p256"})
    enrolled.first.cli("machine", "withdraw", member)
    refused = _retrieve(enrolled.member, answer.json["id"], session)
    assert (refused.status, refused.json["type"]) == (403, "urn:cardd:error:machine_not_enrolled")
    enrolling_itself = enrolled.member.cli("machine", "enrol", member, check=False)
    assert enrolling_itself.returncode != 0
    enrolled.first.cli("machine", "enrol", member)
    assert _retrieve(enrolled.member, answer.json["id"], session).status == 201


def test_a_token_copied_to_another_machine_is_put_into_quarantine_on_both_until_its_owner_decides(
    enrolled: Machines,
) -> None:
    _certificate(enrolled.second)
    answer, session = _order(enrolled.second, {"source": "token", "algorithm": "ec_p256"})
    token = next(
        each
        for each in enrolled.second.call("GET", "/api/v1/tokens").json["items"]
        if each["purpose"] == "structure"
    )
    directory = _token_directory(enrolled.second.state, token["serial"])
    copy = enrolled.member.state / "softhsm" / "tokens" / directory.name
    shutil.copytree(directory, copy)
    _heard(enrolled.second, "key.copy_noticed", lambda: _check_keys(enrolled.member))
    _until(lambda: _quarantine(enrolled.second, token["serial"]) == "elsewhere")
    refused = _retrieve(enrolled.second, answer.json["id"], session)
    assert (refused.status, refused.json["type"]) == (409, "urn:cardd:error:token_quarantined")
    enrolled.member.stop()
    shutil.rmtree(copy)
    enrolled.member.start()
    path = f"/api/v1/tokens/{token['serial']}/quarantine"
    assert enrolled.second.call("POST", path, {"decision": "release"}).status == 200
    _check_keys(enrolled.member)
    assert _quarantine(enrolled.second, token["serial"]) is None
    assert _retrieve(enrolled.second, answer.json["id"], session).status == 201


def _check_keys(daemon: RunningDaemon) -> None:
    assert daemon.call("POST", "/api/v1/keys/check").status == 200


def _quarantine(daemon: RunningDaemon, serial: str) -> str | None:
    tokens = daemon.call("GET", "/api/v1/tokens").json["items"]
    found = next(token["quarantine"] for token in tokens if token["serial"] == serial)
    return None if found is None else found["reason"]


def _token_directory(state: Path, serial: str) -> Path:
    """SoftHSM names a token's directory by a UUID that ends in its serial."""
    tokens = (state / "softhsm" / "tokens").iterdir()
    return next(path for path in tokens if path.name.replace("-", "").endswith(serial))


def test_while_the_database_is_away_callers_are_told_when_to_try_again(machines: Machines) -> None:
    machines.database.stop()
    try:
        refused = machines.second.call("GET", "/api/v1/orders")
        published = machines.second.call("GET", CRL, token=None)
    finally:
        machines.database.start()
    assert (refused.status, refused.json["type"]) == (503, "urn:cardd:error:store_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert published.status == 200
    serial = _certificate(machines.second)["serial"]
    _revoke(machines.second, serial)
    _until(lambda: _lists(machines.first, serial))


def test_a_copy_of_a_state_does_not_run_beside_it(machines: Machines) -> None:
    copy = RunningDaemon(machines.second.state.with_name("clone"), machines.second.settings)
    shutil.copytree(machines.second.state, copy.state, ignore=shutil.ignore_patterns("run", "lock", "*.sock"))
    copy.launcher = machines.second.launcher
    refused = copy.cli("run", check=False)
    assert refused.returncode != 0
    assert "copy of this state" in refused.stderr


def test_a_daemon_whose_place_another_took_while_it_hung_ends(machines: Machines) -> None:
    second = machines.second
    machine = (second.state / "machine").read_text().strip()
    second.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as apart:
        apart.submit(asyncio.run, _take_place(machines.database, machine, second)).result()
    assert "copy of this state" in second.log.read_text().splitlines()[-1]
    second.start()
    _revoke(second, _certificate(second)["serial"])


async def _take_place(server: PostgresqlServer, machine: str, hanging: DistantDaemon) -> None:
    """Cut a machine off the database, take its place there, and let it go on until it has ended."""
    other = await server.database("cardd").connect("a copy")
    sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
    await other.execute(sessions, f"cardd {machine}")
    await other.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", f"machine {machine}")
    hanging.signal(signal.SIGCONT)
    code = await asyncio.to_thread(hanging.ended)
    await other.close()
    assert code != 0
