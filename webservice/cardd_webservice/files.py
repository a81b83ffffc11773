"""Files as answers: with validators, 304 and ranges (RFC 9110 §13, §14)."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest


class HeldFile(web.FileResponse):
    """A file in the place of which another may be answered later.

    `aiohttp` compares the date of an `If-Range` and passes an entity tag over: who goes on with a download would get
    the end of another file. Here a tag that is not the file's has it sent whole (RFC 9110 §13.1.5).
    """

    def __init__(self, path: Path, headers: Mapping[str, str]) -> None:
        super().__init__(path, headers=headers)
        self._held = path

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send the file, or what is asked of it."""
        given = request.headers.get(hdrs.IF_RANGE, "").strip()
        if given.endswith('"') and given != await asyncio.to_thread(self._tag):
            headers = request.headers.copy()
            headers.pop(hdrs.RANGE, None)
            request = request.clone(headers=headers)
        return await super().prepare(request)

    def _tag(self) -> str:
        """Return the entity tag that `aiohttp` gives the file; one of nothing where it is gone."""
        try:
            found = self._held.stat()
        except OSError:
            return ""
        return f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
