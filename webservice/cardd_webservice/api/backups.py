"""Backups of the whole state: made while the daemon works, encrypted to their recipients, fetched and removed."""

from http import HTTPMethod, HTTPStatus
from typing import Any

from aiohttp import web

from cardd.backup.errors import BackupFailedError, NoRecipientError
from cardd.backup.types import BackupRequest, BackupView
from cardd.errors import NotFoundError
from cardd.orders.paging import Page, PageRequest
from cardd_webservice.files import HeldFile
from cardd_webservice.operations import Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of

#: There is no registered type for age files.
BACKUP_TYPE = "application/octet-stream"

_TAG = "Service"
_NAME = Parameter("name", "The backup's file name.", example="cardd-20260302T090000Z-1a2b.tar.age")


async def make_backup(call: Call[BackupRequest]) -> Reply:
    """Make a backup now; nothing is written elsewhere for the moment that the tokens are read."""
    return Reply(await call.services.backups.make(call.given), status=HTTPStatus.CREATED)


async def list_backups(call: Call[PageRequest]) -> Reply:
    """Answer the backups kept, by name."""
    return Reply(page_of(await call.services.backups.list(), lambda each: each.name, call.given))


async def get_backup(call: Call[Nothing]) -> web.StreamResponse:
    """Answer the encrypted file (age-encryption.org/v1), with ranges."""
    name = call.path("name")
    path = await call.services.backups.path(name)
    headers = {
        "Content-Type": BACKUP_TYPE,
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return HeldFile(path, headers)


async def delete_backup(call: Call[Nothing]) -> Reply:
    """Remove a backup."""
    await call.services.backups.delete(call.path("name"))
    return Reply(status=HTTPStatus.NO_CONTENT)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.POST,
        path="/backups",
        handler=make_backup,
        takes=BackupRequest,
        answers=BackupView,
        summary="Make a backup",
        tag=_TAG,
        status=HTTPStatus.CREATED,
        errors=(NoRecipientError, BackupFailedError),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/backups",
        handler=list_backups,
        takes=PageRequest,
        answers=Page[BackupView],
        summary="List backups",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/backups/{name}",
        handler=get_backup,
        takes=Nothing,
        answers=bytes,
        media_types=(BACKUP_TYPE,),
        summary="Fetch a backup",
        tag=_TAG,
        parameters=(_NAME,),
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path="/backups/{name}",
        handler=delete_backup,
        takes=Nothing,
        answers=None,
        summary="Remove a backup",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_NAME,),
        errors=(NotFoundError,),
    ),
)
