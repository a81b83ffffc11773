"""Two virtual readers, and the virtual cards that are put in and out of them by their serials."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NewType

import structlog

from cardd.clock import Clock
from cardd.errors import CarddError
from cardd.text import Text
from cardd.virtualcard.codes import DEFAULT_COST
from cardd.virtualcard.confined import ConfinedPcscd, fits
from cardd.virtualcard.content import CardSerial
from cardd.virtualcard.errors import NoFreeReaderError
from cardd.virtualcard.faults import Fault
from cardd.virtualcard.runner import CardEvent, VirtualCard
from cardd.virtualcard.stored import CardFolder
from cardd.virtualcard.vpcd import FIRST_PORT, SECOND_PORT

VirtualReaderName = NewType("VirtualReaderName", str)
#: Tells what befalls a card, and in which reader.
Observer = Callable[[CardSerial, VirtualReaderName, CardEvent], None]

#: The readers' names, as pcscd makes them of vpcd's configuration, and their ports.
READERS: Final[Mapping[VirtualReaderName, int]] = {
    VirtualReaderName("Virtual PCD 00 00"): FIRST_PORT,
    VirtualReaderName("Virtual PCD 00 01"): SECOND_PORT,
}

_log = structlog.get_logger(__name__)


@dataclass
class _Kept:
    """A card that was inserted once; it keeps its faults."""

    card: VirtualCard
    reader: VirtualReaderName


class VirtualReaders:
    """A confined pcscd with its two readers; the cards lie in folders named by their serials."""

    def __init__(
        self,
        directory: Path,
        cards: Path,
        clock: Clock,
        *,
        code_cost: int = DEFAULT_COST,
        observer: Observer = lambda _card, _reader, _event: None,
    ) -> None:
        """Keep pcscd's socket in `directory`, or in a temporary one where that path is too long for a socket."""
        self._directory = directory
        self._temporary: Path | None = None
        self._pcscd: ConfinedPcscd | None = None
        self._cards = cards
        self._clock = clock
        self._code_cost = code_cost
        self._observer = observer
        self._inserted: dict[CardSerial, _Kept] = {}
        self._faults: dict[CardSerial, tuple[Fault, ...]] = {}
        self._moving = asyncio.Lock()
        self._reviving: asyncio.Task[None] | None = None

    @property
    def pcscd(self) -> ConfinedPcscd:
        """The confined pcscd.

        Raises:
            NoFreeReaderError: it was not started.
        """
        if self._pcscd is None:
            raise NoFreeReaderError(
                Text("No virtual reader runs here.", "Aucun lecteur virtuel ne fonctionne ici.")
            )
        return self._pcscd

    async def start(self) -> Mapping[str, str]:
        """Start pcscd; return what its clients need in their environment, before their first call to libpcsclite.

        Raises:
            ConfinementUnavailableError: a part is missing, or the system allows no namespaces.
        """
        directory = self._directory
        if not fits(directory):
            directory = self._temporary = Path(
                await asyncio.to_thread(tempfile.mkdtemp, prefix="cardd-pcsc-")
            )
        self._pcscd = ConfinedPcscd(directory)
        await self._pcscd.start()
        return self._pcscd.environment

    async def stop(self) -> None:
        """Take every card out and end pcscd."""
        async with self._moving:
            if self._reviving is not None:
                self._reviving.cancel()
                await asyncio.wait([self._reviving])
            for kept in self._inserted.values():
                await kept.card.remove()
            self._inserted.clear()
            pcscd, self._pcscd = self._pcscd, None
            if pcscd is not None:
                await pcscd.stop()
            if self._temporary is not None:
                await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)

    def revive(self) -> None:
        """Start pcscd again if it has ended, soon; its cards enter again by themselves."""
        if self._reviving is None or self._reviving.done():
            self._reviving = asyncio.create_task(self._revive(), name="virtual readers")

    def folder(self, serial: CardSerial) -> CardFolder:
        """Return the folder of a card, whether there is one or not."""
        return CardFolder(self._cards / serial)

    def serials(self) -> list[CardSerial]:
        """Return the serials of the cards that lie in the folders, sorted."""
        if not self._cards.is_dir():
            return []
        return sorted(CardSerial(path.name) for path in self._cards.iterdir() if path.is_dir())

    def reader_of(self, serial: CardSerial) -> VirtualReaderName | None:
        """Return the reader that holds a card."""
        kept = self._inserted.get(serial)
        return kept.reader if kept is not None and kept.card.is_inserted else None

    async def insert(self, serial: CardSerial) -> VirtualReaderName:
        """Put a card into the first free reader and return that reader; a card that is in one stays there.

        Raises:
            NoFreeReaderError: both readers hold a card.
            CardFileError, CardStateError: the card's files cannot be used.
            VirtualReaderUnavailableError: pcscd does not run.
        """
        async with self._moving:
            present = self.reader_of(serial)
            if present is not None:
                return present
            reader = self._free()
            connector = self.pcscd.connector(READERS[reader])
            content = await asyncio.to_thread(self.folder(serial).load)
            card = VirtualCard(
                content,
                self.folder(serial).state,
                connector=connector,
                faults=self._faults.get(serial, ()),
                clock=self._clock,
                code_cost=self._code_cost,
                observer=lambda event: self._observer(serial, reader, event),
            )
            await card.insert()
            self._inserted[serial] = _Kept(card, reader)
            return reader

    async def wait_until_felt(self, serial: CardSerial) -> None:
        """Wait until the reader has noticed a card; nothing happens when it is in none."""
        if (kept := self._inserted.get(serial)) is not None and kept.card.is_inserted:
            await kept.card.wait_until_felt()

    async def remove(self, serial: CardSerial) -> bool:
        """Take a card out of its reader; False where it was in none."""
        async with self._moving:
            kept = self._inserted.pop(serial, None)
            if kept is None:
                return False
            was_inserted = kept.card.is_inserted
            await kept.card.remove()
            return was_inserted

    def set_faults(self, serial: CardSerial, faults: Iterable[Fault]) -> None:
        """Replace a card's faults; they are in force from its next insertion, as long as this object lives."""
        self._faults[serial] = tuple(faults)

    def _free(self) -> VirtualReaderName:
        taken = {kept.reader for kept in self._inserted.values() if kept.card.is_inserted}
        free = [name for name in READERS if name not in taken]
        if not free:
            raise NoFreeReaderError(
                Text("Both virtual readers hold a card.", "Les deux lecteurs virtuels contiennent une carte.")
            )
        return free[0]

    async def _revive(self) -> None:
        try:
            await self.pcscd.ensure()
        except CarddError as error:
            _log.warning("virtual_readers.not_revived", why=error.detail.en)
