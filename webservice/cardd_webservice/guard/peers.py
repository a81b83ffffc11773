"""Who is at the other end of a Unix socket, where the platform tells."""

import os
import socket
import struct

#: `struct ucred`: pid, uid, gid (unix(7)).
_UCRED = struct.Struct("3i")


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user id of the process that connected; `None` where the platform does not tell.

    There, the socket's mode (0600) and its directory's (0700) keep other users out.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _pid, uid, _gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return int(uid)


def may_call(uid: int | None) -> bool:
    """Tell whether a process of `uid` may call: the daemon's own user, or root."""
    return uid is None or uid in (0, os.getuid())
