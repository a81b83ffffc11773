"""A list being fetched, shown as a bar on a terminal: large ones take a while."""

import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait

from cardd.client import Answer, Client, segment
from cardd.errors import CarddError
from cardd.revocation.types import CrlView

#: The daemon gives a fetch up by itself (setting `revocation.total_seconds`, a day at most).
_PATIENCE = 25 * 3600.0
_LOOK_SECONDS = 0.25


def refreshed(client: Client, crl: str) -> Answer:
    """Have the daemon fetch a list now, and wait for it."""
    path = f"/crls/{segment(crl)}"
    if not sys.stderr.isatty():
        return client.post(f"{path}/refresh", patience=_PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(client.post, f"{path}/refresh", patience=_PATIENCE)
        _show(client, path, fetching)
        return fetching.result()


def _show(client: Client, path: str, fetching: "Future[Answer]") -> None:
    from rich.console import Console  # noqa: PLC0415  slow to import, and needed on a terminal only
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        while not wait([fetching], _LOOK_SECONDS).done:
            try:
                view = client.get(path).decode(CrlView)
            except CarddError:
                continue
            if view.progress is not None:
                bar.update(task, completed=view.progress, total=view.progress_total)
