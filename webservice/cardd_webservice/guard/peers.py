"""Which user of this machine is at the other end of a connection, where the platform tells."""

import asyncio
import ipaddress
import os
import socket
import struct
import sys
from pathlib import Path

from cardd_webservice.guard.sockdiag import socket_owner

#: What is known of a caller who has closed its end: it is nobody's.
GONE = -1
#: `struct ucred`: pid, uid, gid (unix(7)).
_UCRED = struct.Struct("3i")
#: The kernel's tables of TCP connections (proc_pid_net(5)); a caller may use an IPv6 socket for an IPv4 address.
_TABLES = ("tcp", "tcp6")
_PROC = Path("/proc/self/net")
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9


def socket_peer_uid(connection: socket.socket) -> int | None:
    """Return the user id of the process that connected to a Unix socket; `None` where the platform does not tell.

    There, the socket's mode (0600) and its directory's (0700) keep other users out.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _pid, uid, _gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return int(uid)


async def tcp_peer_uid(ours: tuple[str, int], theirs: tuple[str, int], tables: Path = _PROC) -> int | None:
    """Return the user id of the process at the other end of a TCP connection of this machine.

    `ours` and `theirs` are address and port of the two ends. The kernel is asked about the one socket, and its tables
    are read where it does not say. `GONE` where that end is closed: the kernel shows a connection that no process
    holds any more as root's, without an inode. `None` where there are no tables.

    Raises `OSError` where it cannot be known now, as when descriptors run out.
    """
    owner = socket_owner(theirs, ours)
    if owner is not None:
        return owner.uid if owner.inode else GONE
    return await asyncio.to_thread(_uid_from_tables, ours, theirs, tables)


def is_this_user(uid: int | None) -> bool:
    """Tell whether `uid` is the daemon's own user, or root; so it is taken to be where the platform does not tell."""
    return uid is None or uid in (0, os.getuid())


def _uid_from_tables(ours: tuple[str, int], theirs: tuple[str, int], tables: Path) -> int | None:
    read = False
    for name in _TABLES:
        wanted_local, wanted_remote = (_written(end, name == "tcp6") for end in (theirs, ours))
        if wanted_local is None or wanted_remote is None:
            continue
        try:
            lines = (tables / name).read_text(encoding="ascii").splitlines()[1:]
        except (FileNotFoundError, PermissionError):
            continue
        read = True
        for line in lines:
            fields = line.split()
            if (fields[_LOCAL], fields[_REMOTE]) == (wanted_local, wanted_remote):
                return int(fields[_UID]) if fields[_INODE] != "0" else GONE
    return GONE if read else None


def _written(end: tuple[str, int], as_ipv6: bool) -> str | None:  # noqa: FBT001 (private)
    """Return an address and port as the tables write them: 32-bit words in the machine's order, hexadecimal."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(end[0].partition("%")[0])
    if as_ipv6 and isinstance(address, ipaddress.IPv4Address):
        address = ipaddress.IPv6Address(f"::ffff:{address}")
    if not as_ipv6 and isinstance(address, ipaddress.IPv6Address):
        return None
    packed = address.packed
    words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
    shown = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{shown}:{end[1]:04X}"
