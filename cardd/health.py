"""How each part of the daemon is, and which of them it cannot work without."""

import msgspec

from cardd.cardreaders import CardReaders, Watched
from cardd.cards.modules import CardModules
from cardd.custody.types import SweepReport
from cardd.parts import Parts
from cardd.text import Text
from cardd.upkeep import Upkeep


class HealthPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the daemon and whether it answers."""

    name: str
    ok: bool
    detail: Text | None = None
    needed: bool = False
    """Whether the daemon can serve nothing useful without it: what readiness asks."""


async def health_parts(parts: Parts, upkeep: Upkeep) -> list[HealthPart]:
    """Ask every part."""
    failing = ", ".join(f"{name} ({code})" for name, code in sorted(upkeep.failing.items()))
    kept_up = HealthPart(name="upkeep", ok=not failing, detail=Text(failing, failing) if failing else None)
    return [
        _hosts(parts),
        _readers(parts.readers),
        _modules(parts.inserted.modules),
        _keys(parts.sweep.report),
        *await _machines(parts),
        kept_up,
    ]


def _hosts(parts: Parts) -> HealthPart:
    counters = parts.pool.counters
    return HealthPart(
        name="token_hosts",
        ok=counters.running > 0,
        detail=Text(
            f"{counters.running} of {counters.hosts} run, {counters.restarts} restarts",
            f"{counters.running} sur {counters.hosts} actifs, {counters.restarts} redémarrages",
        ),
        needed=True,
    )


async def _machines(parts: Parts) -> list[HealthPart]:
    """Say where the CA keys are, where several machines share the state; a way to them is needed."""
    if not parts.store.shared:
        return []
    machines = await parts.machines.list()
    here = next((each for each in machines if each.here), None)
    signing = ", ".join(each.name for each in machines if each.holds_ca)
    enrolled = here is not None and here.enrolled
    detail = Text(
        f"{len(machines)} share this state; CA keys: {signing}; this one is {'' if enrolled else 'not '}enrolled",
        f"{len(machines)} partagent cet état ; clés d’AC : {signing} ; celle-ci {'est' if enrolled else 'n’est pas'} "
        "inscrite",
    )
    return [HealthPart(name="machines", ok=enrolled, detail=detail)]


def _readers(readers: CardReaders) -> HealthPart:
    """Say what is watched; only a confined pcscd that is gone is a failure, for nobody else restarts it."""
    up = readers.readers is not None and readers.readers.service_is_up
    if readers.readers is None or up:
        return HealthPart(name="readers", ok=True, detail=readers.sentence)
    gone = Text("pcscd does not answer", "pcscd ne répond pas")
    detail = Text(f"{readers.sentence.en} ({gone.en})", f"{readers.sentence.fr} ({gone.fr})")
    return HealthPart(name="readers", ok=readers.watched is not Watched.VIRTUAL, detail=detail)


def _modules(modules: CardModules) -> HealthPart:
    """Say which modules drive cards in readers, and which of those named are missing; nothing fails by that."""
    here = ", ".join(module.name for module in modules.available)
    found = Text(
        f"Cards in readers are driven by: {here or 'none'}.",
        f"Les cartes dans les lecteurs sont pilotées par : {here or 'aucun module'}.",
    )
    sentences = [found, *(each.reason for each in modules.missing)]
    detail = Text(" ".join(each.en for each in sentences), " ".join(each.fr for each in sentences))
    return HealthPart(name="card_modules", ok=True, detail=detail)


def _keys(report: SweepReport | None) -> HealthPart:
    """Say what the last check of every key found."""
    if report is None:
        return HealthPart(name="keys", ok=True, detail=Text("not checked yet", "pas encore vérifiées"))
    foreign = ", ".join(report.foreign_tokens) or "0"
    return HealthPart(
        name="keys",
        ok=report.findings == 0,
        detail=Text(
            f"{report.keys} checked at {report.swept_at:%Y-%m-%d %H:%M}, {report.findings} findings "
            f"(`cardd key list`), foreign tokens: {foreign}",
            f"{report.keys} vérifiées le {report.swept_at:%d/%m/%Y %H:%M}, {report.findings} constats "
            f"(« cardd key list »), jetons étrangers : {foreign}",
        ),
    )
