"""SELECT: which file a path, an identifier or an application name leads to (ISO/IEC 7816-4 §11.2)."""

from cardd.virtualcard.apdu import StatusError
from cardd.virtualcard.files import DedicatedFile, File
from cardd.virtualcard.wire import SW, Fid, SelectBy


def select(root: DedicatedFile, current: DedicatedFile, by: int, name: bytes) -> File:
    """Return the file that `name` means, seen from directory `current`.

    Raises:
        StatusError: 6A82 no such file, 6A86 unknown way to select, 6A80 a name of odd length.
    """
    file: File
    match by:
        case SelectBy.FILE_ID:
            file = _by_id(root, current, name) if name else root
        case SelectBy.CHILD_DF:
            file = _directory(_walk(current, name))
        case SelectBy.EF_IN_CURRENT_DF:
            file = _by_id(root, current, name)
        case SelectBy.PARENT_DF:
            file = current.parent or root
        case SelectBy.DF_NAME:
            file = _application(root, name)
        case SelectBy.PATH_FROM_MF:
            file = _walk(root, _without_root(name))
        case SelectBy.PATH_FROM_CURRENT_DF:
            relative = _without_root(name)
            file = _walk(current if relative == name else root, relative)
        case _:
            raise StatusError(SW.WRONG_P1_P2)
    return file


def _by_id(root: DedicatedFile, current: DedicatedFile, name: bytes) -> File:
    """The master file, the directory itself, a file in it, or one beside it.

    OpenSC selects even 3F00 “under the current directory” before it reads the PIN's counter.
    """
    fid = _identifiers(name)
    if len(fid) != 1:
        raise StatusError(SW.WRONG_DATA)
    if fid[0] == Fid.MF:
        return root
    if fid[0] == current.fid:
        return current
    for directory in (current, current.parent or root):
        if fid[0] in directory.children:
            return directory.children[fid[0]]
    raise StatusError(SW.FILE_NOT_FOUND)


def _walk(start: DedicatedFile, path: bytes) -> File:
    file: File = start
    for fid in _identifiers(path):
        if not isinstance(file, DedicatedFile) or fid not in file.children:
            raise StatusError(SW.FILE_NOT_FOUND)
        file = file.children[fid]
    return file


def _application(root: DedicatedFile, name: bytes) -> DedicatedFile:
    for application in root.applications():
        if application.aid.value == name:
            return application
    raise StatusError(SW.FILE_NOT_FOUND)


def _directory(file: File) -> DedicatedFile:
    if not isinstance(file, DedicatedFile):
        raise StatusError(SW.FILE_NOT_FOUND)
    return file


def _without_root(path: bytes) -> bytes:
    return path.removeprefix(Fid.MF.to_bytes(2, "big"))


def _identifiers(path: bytes) -> list[int]:
    if len(path) % 2:
        raise StatusError(SW.WRONG_DATA)
    return [int.from_bytes(path[start : start + 2], "big") for start in range(0, len(path), 2)]
