"""The kernel asked whose one TCP socket of this machine is: NETLINK_SOCK_DIAG (sock_diag(7)), in microseconds.

The tables under /proc/net say the same, but the whole of them is read for one line: milliseconds where thousands of
connections are open.
"""

import errno
import ipaddress
import socket
import struct
from typing import NamedTuple

#: linux/netlink.h, linux/sock_diag.h: what Python's socket module has no names for.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_EVERY_STATE = 0xFFFFFFFF
_ANY_COOKIE = b"\xff" * 8
#: `struct nlmsghdr`: length, type, flags, sequence, port.
_HEADER = struct.Struct("=IHHII")
#: `struct inet_diag_req_v2` up to the socket: family, protocol, extensions, states.
_REQUEST = struct.Struct("=BBBxI")
#: `struct inet_diag_sockid`: ports and addresses in network order, interface, cookie.
_SOCKET = struct.Struct("!HH16s16s4x8s")
#: `struct inet_diag_msg` after the socket: expiry, queues, user, inode.
_OWNER = struct.Struct("=12xII")
_SOCKET_AT = _HEADER.size + 4
_OWNER_AT = _SOCKET_AT + _SOCKET.size
_RECEIVE = 4096
_WITHOUT_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class SocketOwner(NamedTuple):
    """Whose a socket is; the inode is 0 where no process holds it any more, and the user then means nothing."""

    uid: int
    inode: int


def socket_owner(local: tuple[str, int], remote: tuple[str, int]) -> SocketOwner | None:
    """Return the owner of the TCP socket with these two ends, in this network namespace.

    `None` where the kernel does not show that very socket, or answers no such questions.

    Raises `OSError` where it cannot be asked now, as when descriptors run out.
    """
    addresses = [ipaddress.ip_address(end[0].partition("%")[0]) for end in (local, remote)]
    ports = local[1], remote[1]
    family = socket.AF_INET if addresses[0].version == 4 else socket.AF_INET6
    question = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _EVERY_STATE)
    question += _SOCKET.pack(*ports, *(each.packed.ljust(16, b"\0") for each in addresses), _ANY_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    answer = _asked(header + question)
    if len(answer) < _OWNER_AT + _OWNER.size or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    # Where there is no such connection, the kernel shows who listens at the local end, whose remote end is empty.
    shown_as_ipv6 = answer[_HEADER.size] == socket.AF_INET6
    ends = (*ports, *(_shown(each, as_ipv6=shown_as_ipv6) for each in addresses))
    if _SOCKET.unpack_from(answer, _SOCKET_AT)[:4] != ends:
        return None
    return SocketOwner(*_OWNER.unpack_from(answer, _OWNER_AT))


def _shown(address: ipaddress.IPv4Address | ipaddress.IPv6Address, *, as_ipv6: bool) -> bytes:
    """Return an address as the kernel writes it: one of IPv4 that an IPv6 socket uses is mapped (RFC 4291 §2.5.5.2)."""
    if as_ipv6 and address.version == 4:
        return ipaddress.IPv6Address(f"::ffff:{address}").packed
    return address.packed.ljust(16, b"\0")


def _asked(message: bytes) -> bytes:
    """Send one message and return the answer, empty where this system has no such socket or forbids it."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return b""
    try:
        with socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG) as kernel:
            kernel.sendto(message, (0, 0))
            return kernel.recv(_RECEIVE)
    except OSError as error:
        if error.errno in _WITHOUT_DESCRIPTORS:
            raise
        return b""
