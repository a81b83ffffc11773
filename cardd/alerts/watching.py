"""What is looked at once a minute: lists and certificates that end, copies, token hosts, duties that fail."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique

import sqlalchemy as sa

from cardd.alerts.alerts import Alerts
from cardd.alerts.counting import Key, Sighting
from cardd.clock import Clock
from cardd.custody.chain import TokenChains
from cardd.igc.pki import Pki
from cardd.revocation.cache import RevocationCache
from cardd.store import Store
from cardd.store.tables import authorities, certificates
from cardd.text import Text
from cardd_pkcs11.operations import PoolCounters, TokenPool


@unique
class AlertKind(StrEnum):
    """What can hurt."""

    CRL_ENDING = "crl_ending"
    CERTIFICATE_ENDING = "certificate_ending"
    COPY_NOTICED = "copy_noticed"
    MODULE_DOWN = "module_down"
    HOST_RESTARTS = "host_restarts"
    UPKEEP_FAILING = "upkeep_failing"


@dataclass(frozen=True, kw_only=True)
class WatchParts:
    """What is looked at."""

    store: Store
    clock: Clock
    pool: TokenPool
    pki: Pki
    chains: TokenChains
    revocation: RevocationCache


@dataclass
class AlertWatch:
    """Looks, and hands what is wrong to the alerts; `failing` names the duties that fail, with their codes."""

    parts: WatchParts
    alerts: Alerts
    failing: Callable[[], Mapping[str, str]] = dict
    _restarts: defaultdict[str, deque[tuple[datetime, int]]] = field(
        default_factory=lambda: defaultdict(deque)
    )

    async def look(self) -> None:
        """Look once."""
        now = self.parts.clock.now()
        await self.alerts.note(
            [
                *self._lists(now),
                *await self._certificates(now),
                *await self._copies(),
                *self._hosts(now),
                *self._upkeep(),
            ]
        )

    def _lists(self, now: datetime) -> Iterator[Sighting]:
        settings = self.alerts.settings
        if not settings.crl_hours:
            return
        limit = now + timedelta(hours=settings.crl_hours)
        for view in self.parts.revocation.lists("en"):
            if view.next_update is not None and view.next_update <= limit:
                english = f"The revocation list {view.id} ends at {view.next_update:%Y-%m-%d %H:%M} UTC."
                french = (
                    f"La liste de révocation {view.id} prend fin le {view.next_update:%d/%m/%Y %H:%M} UTC."
                )
                key = Key(AlertKind.CRL_ENDING, f"crl:{view.id}")
                yield Sighting(key, Text(english, french), settings.crl_times)

    async def _certificates(self, now: datetime) -> list[Sighting]:
        """Look at the certificates of orders together, and at each CA; responders renew theirs by themselves."""
        settings, table = self.alerts.settings, certificates
        if not settings.certificate_days:
            return []
        limit = now + timedelta(days=settings.certificate_days)
        ending = (table.c.not_after >= now) & (table.c.not_after <= limit) & table.c.revoked_at.is_(None)
        in_use = sa.select(authorities.c.certificate_serial)
        async with self.parts.store.read() as connection:
            ordered = sa.select(sa.func.count(), sa.func.min(table.c.not_after)).where(
                ending, table.c.kind == "order"
            )
            count, first = (await connection.execute(ordered)).one()
            own = await connection.execute(
                sa.select(table.c.serial, table.c.common_name, table.c.not_after).where(
                    ending, table.c.serial.in_(in_use)
                )
            )
            rows = own.all()
        found = [
            Sighting(
                Key(AlertKind.CERTIFICATE_ENDING, f"certificate:{row.serial}"),
                Text(
                    f"The certificate of {row.common_name} ends on {row.not_after:%Y-%m-%d}.",
                    f"Le certificat de {row.common_name} prend fin le {row.not_after:%d/%m/%Y}.",
                ),
                settings.certificate_times,
            )
            for row in rows
        ]
        if count:
            detail = Text(
                f"{count} certificates end within {settings.certificate_days} days, the first on {first:%Y-%m-%d}.",
                f"{count} certificats prennent fin sous {settings.certificate_days} jours, le premier le "
                f"{first:%d/%m/%Y}.",
            )
            key = Key(AlertKind.CERTIFICATE_ENDING, "certificates")
            found.append(Sighting(key, detail, settings.certificate_times))
        return found

    async def _copies(self) -> list[Sighting]:
        return [
            Sighting(
                Key(AlertKind.COPY_NOTICED, f"token:{each.token_serial}"),
                Text(
                    f"A copy of the token {each.token_serial} was noticed ({each.reason}): `cardd tokens`.",
                    f"Une copie du jeton {each.token_serial} a été constatée ({each.reason}) : « cardd tokens ».",
                ),
                self.alerts.settings.copy_times,
            )
            for each in await self.parts.chains.quarantines()
        ]

    def _hosts(self, now: datetime) -> Iterator[Sighting]:
        for module, counters in self.parts.pool.counters_by_module.items():
            yield from self._hosts_of(module, counters, now)

    def _hosts_of(self, name: str, counters: PoolCounters, now: datetime) -> Iterator[Sighting]:
        settings, restarts = self.alerts.settings, self._restarts[name]
        if not counters.running:
            detail = Text(
                f"No host of the module {name} runs.", f"Aucun processus du module {name} ne tourne."
            )
            yield Sighting(Key(AlertKind.MODULE_DOWN, f"module:{name}"), detail, settings.module_times)
        restarts.append((now, counters.restarts))
        while restarts[0][0] <= now - timedelta(minutes=settings.window_minutes):
            restarts.popleft()
        since = counters.restarts - restarts[0][1]
        if settings.host_restarts and since >= settings.host_restarts:
            detail = Text(
                f"Hosts of the module {name} were restarted {since} times in {settings.window_minutes} minutes.",
                f"Les processus du module {name} ont redémarré {since} fois en {settings.window_minutes} minutes.",
            )
            yield Sighting(Key(AlertKind.HOST_RESTARTS, f"module:{name}"), detail, 1)

    def _upkeep(self) -> Iterator[Sighting]:
        for duty, code in sorted(self.failing().items()):
            detail = Text(f"The duty “{duty}” fails ({code}).", f"La tâche « {duty} » échoue ({code}).")
            key = Key(AlertKind.UPKEEP_FAILING, f"duty:{duty}")
            yield Sighting(key, detail, self.alerts.settings.upkeep_times)
