"""What holds for every test: in CI nothing may be skipped, and property tests do not race the clock."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

pytest_plugins = ["tests.support.stores"]

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

_NOTHING_IS_SKIPPED = any(os.environ.get(name) not in (None, "", "0", "false") for name in ("CI", "CARDD_CI"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each operation that schemathesis tests an identifier of its own: pytest-xdist runs one of each.

    schemathesis 4 tells its items apart by name alone, and pytest 9 no longer takes the identifier from the name.
    """
    _, bracket, label = item.name.partition("[")
    if bracket and item.id.params is None:
        item._id = item.id.with_params(label.removesuffix("]"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI, with the sentence that it was skipped with."""
    report = yield
    if _NOTHING_IS_SKIPPED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = _sentence(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a module that skips itself as a whole."""
    report = yield
    if _NOTHING_IS_SKIPPED and report.skipped:
        report.outcome = "failed"
        report.longrepr = _sentence(report.longrepr)
    return report


def _sentence(longrepr: object) -> str:
    reason = longrepr[2] if isinstance(longrepr, tuple) else longrepr
    return f"In CI every test runs, and this one was skipped: {reason}"
