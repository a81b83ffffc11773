"""Settings read again: what can change is taken up once, what cannot is named."""

from pathlib import Path

import msgspec

from cardd.reload import Reload
from cardd.settings import LogSettings, Settings, load_settings


async def test_changed_settings_are_taken_up_or_named_for_the_next_start(tmp_path: Path) -> None:
    settings = load_settings({}, overrides={"state_dir": str(tmp_path)})
    taken: list[Settings] = []

    async def take(new: Settings) -> None:
        taken.append(new)

    reload = Reload(settings, {"log": take, "orders.notice_days": take})
    assert await reload.take(settings) == ((), ())
    new = msgspec.structs.replace(
        settings,
        log=LogSettings(level="debug", format="json"),
        http_port=1,
        orders=msgspec.structs.replace(settings.orders, notice_days=5, retrieval_days=6),
    )
    changes = await reload.take(new)
    assert set(changes.taken) == {"log.level", "log.format", "orders.notice_days"}
    assert set(changes.waiting) == {"http_port", "orders.retrieval_days"}
    assert taken == [new, new], "once for each part, not for each setting"
    again = await reload.take(new)
    assert again == ((), changes.waiting), "what waits is named until the next start"
