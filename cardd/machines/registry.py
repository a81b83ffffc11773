"""The machines of a database: each announces itself; the owner of one that is enrolled enrols others.

To be enrolled is to be allowed to ask the machines with the CA keys for certificates that are due. The first machine
of a database is enrolled by being the first. A machine that comes with another certificate is a stranger again.
"""

import hashlib

import msgspec
import sqlalchemy as sa

from cardd.clock import Clock
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.machines.errors import MachineNotEnrolledError
from cardd.machines.types import MachineView
from cardd.store import Store
from cardd.store.tables import machines
from cardd.text import Text

_KIND = Text("machine", "machine")


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolled machine, for calling it or being called; `certificate` is DER."""

    id: str
    name: str
    address: str
    certificate: bytes


class Machines:
    """The machines of this database."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def announce(self, *, name: str, address: str, certificate: bytes, holds_ca: bool) -> None:
        """Tell the others of this machine; the first of a database is enrolled by that."""
        ours = machines.c.id == self._store.machine
        values = {"name": name, "address": address, "certificate": certificate, "holds_ca": holds_ca}
        async with self._store.transaction() as tx:
            known = (await tx.execute(sa.select(machines).where(ours))).first()
            enrolled = machines.c.enrolled_at.is_not(None)
            first = (await tx.execute(sa.select(machines.c.id).where(enrolled))).first() is None
            since = known.enrolled_at if known is not None and known.certificate == certificate else None
            values |= {"seen_at": tx.now, "enrolled_at": since or (tx.now if first else None)}
            if known is None:
                await tx.execute(sa.insert(machines).values(id=self._store.machine, **values))
                tx.journal("machine.announced", f"machine:{self._store.machine}", name=name)
            else:
                await tx.execute(sa.update(machines).where(ours).values(**values))

    async def seen(self) -> None:
        """Note that this machine is there."""
        async with self._store.transaction() as tx:
            ours = machines.c.id == self._store.machine
            await tx.execute(sa.update(machines).where(ours).values(seen_at=tx.now))

    async def list(self) -> tuple[MachineView, ...]:
        """Return every machine, by identifier."""
        async with self._store.read() as connection:
            rows = (await connection.execute(sa.select(machines).order_by(machines.c.id))).all()
        return tuple(
            MachineView(
                id=row.id,
                name=row.name,
                here=row.id == self._store.machine,
                holds_ca=row.holds_ca,
                address=row.address,
                certificate_sha256=hashlib.sha256(row.certificate).hexdigest(),
                enrolled=row.enrolled_at is not None,
                enrolled_at=row.enrolled_at,
                seen_at=row.seen_at,
            )
            for row in rows
        )

    async def get(self, machine: str) -> MachineView:
        """Return one machine. Raises `NotFoundError`."""
        for each in await self.list():
            if each.id == machine:
                return each
        raise NotFoundError.of(_KIND, machine)

    async def enrol(self, machine: str) -> MachineView:
        """Let a machine ask those with the CA keys to sign; nothing where it may already.

        Raises:
            NotFoundError: there is no such machine.
            MachineNotEnrolledError: this machine is not enrolled itself.
        """
        await self._decide(machine, enrolled=True)
        return await self.get(machine)

    async def withdraw(self, machine: str) -> MachineView:
        """Take a machine's enrolment back; errors as for `enrol`."""
        await self._decide(machine, enrolled=False)
        return await self.get(machine)

    async def check_enrolled(self) -> None:
        """Raise `MachineNotEnrolledError` where this machine is not."""
        if not (await self.get(self._store.machine)).enrolled:
            raise MachineNotEnrolledError(
                Text(
                    f"This machine, {self._store.machine}, may not have anything signed yet.",
                    f"Cette machine, {self._store.machine}, ne peut encore rien faire signer.",
                )
            )

    async def peers(self) -> tuple[Peer, ...]:
        """Return the enrolled machines, those with the CA keys first."""
        async with self._store.read() as connection:
            statement = sa.select(machines).where(machines.c.enrolled_at.is_not(None))
            rows = (
                await connection.execute(statement.order_by(machines.c.holds_ca.desc(), machines.c.id))
            ).all()
        return tuple(
            Peer(id=row.id, name=row.name, address=row.address, certificate=row.certificate) for row in rows
        )

    async def signing_peers(self) -> tuple[Peer, ...]:
        """Return the other enrolled machines that sign for this one."""
        async with self._store.read() as connection:
            statement = sa.select(machines.c.id).where(machines.c.holds_ca, machines.c.address != "")
            signing = set((await connection.execute(statement)).scalars()) - {self._store.machine}
        return tuple(each for each in await self.peers() if each.id in signing)

    async def _decide(self, machine: str, *, enrolled: bool) -> None:
        async with self._store.transaction() as tx:
            ours = sa.select(machines.c.enrolled_at).where(machines.c.id == self._store.machine)
            if (await tx.execute(ours)).scalar() is None:
                raise MachineNotEnrolledError(
                    Text(
                        "Only a machine that is enrolled enrols others.",
                        "Seule une machine inscrite en inscrit d’autres.",
                    )
                )
            changed = machines.c.enrolled_at.is_(None) if enrolled else machines.c.enrolled_at.is_not(None)
            done = await tx.execute(
                sa.update(machines)
                .where(machines.c.id == machine, changed)
                .values(enrolled_at=tx.now if enrolled else None)
            )
            if done.rowcount == 1:
                action = EventType.MACHINE_ENROLLED if enrolled else EventType.MACHINE_WITHDRAWN
                tx.journal(action.value, f"machine:{machine}")
                tx.publish(action, f"machine:{machine}")
