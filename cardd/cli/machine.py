"""What `cardd diagnose` finds on this machine by itself: pcscd, drivers, modules, ports, clock; with advice."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cardd.cli.language import say
from cardd.cli.startup import run_on_loop
from cardd.logs import configure_logs
from cardd.settings import Settings

Facts = dict[str, Any]

_MACHINE_SOCKET: Final = Path("/run/pcscd/pcscd.comm")
_SOCKET_VARIABLE: Final = "PCSCLITE_CSOCK_NAME"
_DRIVER_DIRECTORIES: Final = (
    Path("/usr/lib/pcsc/drivers"),
    Path("/usr/lib64/pcsc/drivers"),
)
_VIRTUAL_READER_CONFIGURATION: Final = Path("/etc/reader.conf.d/vpcd")
_VIRTUAL_READER_PORTS: Final = (35963, 35964)
_PROGRAMS: Final = (("pcscd", "--version"), ("opensc-tool", "--info"), ("openssl", "version"))
_SBIN: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_ANSWERS_WITHIN_SECONDS: Final = 5.0
_YEARS_OF_BUILD: Final = 2025


class Advice:
    """What to do, in the order in which it was found."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, en: str, fr: str) -> None:
        """Add a sentence."""
        self.sentences.append(say(en, fr))


def programs() -> Facts:
    """Return the first line of each program's version, or that it is missing."""
    return {name: _first_line(name, argument) for name, argument in _PROGRAMS}


def pcscd_facts(settings: Settings, advice: Advice) -> Facts:
    """Return which pcscd is spoken to, and its readers; this process speaks to one pcscd only."""
    from cardd.readers import PcscError, SystemPcsc, available  # noqa: PLC0415  --help does without
    from cardd.virtualcard import ConfinedPcscd  # noqa: PLC0415

    missing = ConfinedPcscd.missing_part()
    own = _socket_of_the_daemon(settings)
    if _SOCKET_VARIABLE not in os.environ and own is not None and _accepts(own):
        os.environ[_SOCKET_VARIABLE] = str(own)
    named = os.environ.get(_SOCKET_VARIABLE) or str(_MACHINE_SOCKET)
    facts: Facts = {
        "socket": named,
        "answers": _accepts(Path(named)),
        "machine's own": _accepts(_MACHINE_SOCKET),
        "virtual readers": say("can run", "possibles")
        if missing is None
        else missing.en + "; " + say("test cards are SoftHSM's", "les cartes de test sont celles de SoftHSM"),
    }
    if missing is not None:
        advice.add(
            "For virtual cards install vsmartcard-vpcd (`make system-packages`).",
            "Pour des cartes virtuelles, installez vsmartcard-vpcd (`make system-packages`).",
        )
    usable = available()
    if not usable:
        advice.sentences.append(say(usable.sentence.en, usable.sentence.fr))
        return facts | {"error": say(usable.sentence.en, usable.sentence.fr)}
    if not facts["answers"]:
        advice.add(
            f"No pcscd answers at {named}: start it (`systemctl start pcscd.socket`), or let `cardd run` start "
            "its own.",
            f"Aucun pcscd ne répond à {named} : démarrez-le (`systemctl start pcscd.socket`), ou laissez `cardd run` "
            "démarrer le sien.",
        )
        return facts
    try:
        return facts | _readers(SystemPcsc())
    except PcscError as error:
        advice.add(
            "pcscd refuses this user; ask the administrator for access (polkit, org.debian.pcsc-lite.access_pcsc).",
            "pcscd refuse cet utilisateur ; demandez l’accès (polkit, org.debian.pcsc-lite.access_pcsc).",
        )
        return facts | {"error": error.detail.en}


def driver_facts(advice: Advice) -> Facts:
    """Return the readers' drivers that pcscd finds, and whether the virtual one listens on the network."""
    listening = _listening_ports()
    exposed = [port for port in _VIRTUAL_READER_PORTS if port in listening]
    if exposed:
        advice.add(
            f"The virtual readers' driver listens on every interface (ports {exposed}): whoever reaches them can "
            f"insert a card. Move {_VIRTUAL_READER_CONFIGURATION} away and restart pcscd; cardd uses a confined one.",
            f"Le pilote des lecteurs virtuels écoute sur toutes les interfaces (ports {exposed}) : qui les atteint "
            f"peut insérer une carte. Déplacez {_VIRTUAL_READER_CONFIGURATION} et redémarrez pcscd ; cardd en utilise "
            "un isolé.",
        )
    return {
        "installed": sorted(
            path.name for root in _DRIVER_DIRECTORIES if root.is_dir() for path in root.iterdir()
        ),
        "virtual, in the machine's pcscd": _VIRTUAL_READER_CONFIGURATION.exists(),
        "virtual, ports open": exposed,
    }


def module_facts(settings: Settings, advice: Advice) -> Facts:
    """Return where each PKCS#11 module is and what it says of itself, asked in a process of its own."""
    configure_logs(settings.log)
    facts: Facts = run_on_loop(_ask_modules(settings))
    if facts.get(settings.tokens.module or "softhsm2", "").startswith(_MISSING):
        advice.add(
            "The daemon cannot work without the module of its tokens: `make system-packages`.",
            "Le démon ne peut pas fonctionner sans le module de ses jetons : `make system-packages`.",
        )
    return facts


def port_facts(settings: Settings) -> Facts:
    """Return whether the web service's port is in use."""
    if settings.http_port == 0:
        return {
            "0": say(
                "any free one, kept from the first start on", "un port libre, gardé dès le premier démarrage"
            )
        }
    used = settings.http_port in _listening_ports()
    return {str(settings.http_port): say("in use", "occupé") if used else say("free", "libre")}


def clock_facts(settings: Settings, advice: Advice) -> Facts:
    """Return the machine's time and the daemon's."""
    now = datetime.now(UTC)
    if now.year < _YEARS_OF_BUILD:
        advice.add("The machine's clock is wrong.", "L’horloge de la machine est fausse.")
    daemon = now + timedelta(days=settings.clock_offset_days)
    return {"machine": now.isoformat(timespec="seconds"), "daemon": daemon.isoformat(timespec="seconds")}


def permission_facts(settings: Settings, advice: Advice) -> Facts:
    """Return who this is, and whether the state is this user's alone."""
    facts: Facts = {"user": os.getuid() if hasattr(os, "getuid") else "-"}
    try:
        entry = settings.state.stat()
    except OSError as error:
        return facts | {"state": error.strerror}
    if hasattr(os, "getuid") and entry.st_uid != os.getuid():
        advice.add(
            f"{settings.state} belongs to another user ({entry.st_uid}): run cardd as that user.",
            f"{settings.state} appartient à un autre utilisateur ({entry.st_uid}) : exécutez cardd sous ce compte.",
        )
    if entry.st_mode & 0o077:
        advice.add(
            f"Others may enter {settings.state}: chmod 700.",
            f"D’autres peuvent entrer dans {settings.state} : chmod 700.",
        )
    return facts | {"state": f"{entry.st_mode & 0o777:o} uid {entry.st_uid}"}


_MISSING: Final = "missing"


async def _ask_modules(settings: Settings) -> Facts:
    from cardd_pkcs11.profiles import profile_names  # noqa: PLC0415  --help does without

    return {name: await _ask_module(name, settings) for name in profile_names()}


async def _ask_module(name: str, settings: Settings) -> str:
    from cardd_pkcs11.client import TokenHost  # noqa: PLC0415  --help does without
    from cardd_pkcs11.errors import ModuleMissingError, TokenError  # noqa: PLC0415
    from cardd_pkcs11.profiles import load_profile  # noqa: PLC0415

    try:
        profile = load_profile(name)
        path = profile.locate()
    except ModuleMissingError as error:
        return f"{_MISSING}: {error}"
    environment = {
        "SOFTHSM2_CONF": str(settings.state / "softhsm" / "softhsm2.conf"),
        "TPM2_PKCS11_STORE": str(settings.state / "tpm2"),
        "HOME": str(settings.state),
    }
    if settings.tokens.tpm_tcti:
        environment["TPM2_PKCS11_TCTI"] = settings.tokens.tpm_tcti
    if named := os.environ.get(_SOCKET_VARIABLE):
        environment[_SOCKET_VARIABLE] = named
    host = TokenHost(profile, environment)
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN_SECONDS):
            info = await host.start()
    except (TokenError, TimeoutError) as error:
        return f"{path}: {type(error).__name__} {error}"
    finally:
        await host.close()
    return f"{path} ({info.description} {info.library_version}, Cryptoki {info.cryptoki_version})"


def _readers(api: Any) -> Facts:
    from cardd.readers import identify  # noqa: PLC0415  --help does without
    from cardd.readers.pcsc import ReaderStatus, StateFlag  # noqa: PLC0415

    context = api.establish_context()
    try:
        names = api.list_readers(context)
        states = api.wait_for_change(context, [ReaderStatus(name) for name in names], 0.0) if names else []
        return {
            "readers": [
                f"{each.reader}: {identify(each.atr).value} {each.atr.hex()}"
                if each.flags & StateFlag.PRESENT
                else f"{each.reader}: {say('empty', 'vide')}"
                for each in states
            ]
        }
    finally:
        api.release_context(context)


def _socket_of_the_daemon(settings: Settings) -> Path | None:
    """Return the socket of the confined pcscd that the daemon runs or ran last."""
    try:
        lines = (settings.runtime / "pcsc.env").read_text().splitlines()
    except OSError:
        return None
    named = dict(line.split("=", 1) for line in lines if "=" in line).get(_SOCKET_VARIABLE)
    return None if named is None else Path(named)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ANSWERS_WITHIN_SECONDS)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _listening_ports() -> set[int]:
    """Return the TCP ports that somebody listens on (proc(5), /proc/net/tcp); empty where that is not known."""
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = [line.split() for line in table.read_text().splitlines()[1:]]
        except OSError:
            continue
        ports |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    return ports


def _first_line(name: str, argument: str) -> str:
    program = shutil.which(name, path=_SBIN)
    if program is None:
        return _MISSING
    try:
        done = subprocess.run(  # noqa: S603 - a program of this machine, found by its name
            [program, argument], capture_output=True, text=True, timeout=_ANSWERS_WITHIN_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    lines = re.sub(r"[^\x20-\x7e\n]", "", done.stdout + done.stderr).splitlines()
    return lines[0] if lines else "?"
