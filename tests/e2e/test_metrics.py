"""The numbers of a daemon that has worked, as Prometheus reads them."""

import subprocess

from prometheus_client.parser import text_string_to_metric_families

from tests.support.ordering import ordered
from tests.support.running import RunningDaemon
from tests.support.softhsm import require_tool


def test_work_shows_in_the_numbers(daemon: RunningDaemon) -> None:
    require_tool("promtool")
    ordered(daemon, "METRICS")
    text = daemon.call("GET", "/metrics").body
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode in (0, 3), checked.stderr  # 3: advice on names
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert values["cardd_signature_seconds_count",] > 0
    assert values["cardd_token_hosts_running",] > 0
    assert values["cardd_events_total", "certificate.issued"] > 0
    assert values["cardd_crl_next_update_seconds", "ACI-EL-ORG-TEST"] > 0
    assert values["cardd_crl_age_seconds", "ACI-EL-ORG-TEST-delta"] >= 0
    assert {"deliveries", "notices", "certificates_to_write"} <= {
        name[1] for name in values if name[0] == "cardd_queue_depth"
    }
    assert daemon.call("GET", "/metrics", token=None).status == 401
