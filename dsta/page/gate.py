"""What stands between the network and gradio: uploads come in here, each to a path of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dsta.page.uploads import MAX_BYTES, Uploads

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

API = "/gradio_api"
_ENVELOPE = 10_000  # bytes of a form beside its file
_SWEEP_EVERY = 30.0  # seconds


class Gate:
    """ASGI middleware. It takes the uploads instead of gradio, whose paths are hashes of what the files hold and
    therefore shared by all who send the same, and sweeps them for as long as the server runs."""

    def __init__(self, app: "ASGIApp", uploads: Uploads) -> None:
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "lifespan":
            sweeping = asyncio.create_task(self._sweep())
            try:
                await self.app(scope, receive, send)
            finally:
                sweeping.cancel()
        elif scope["type"] == "http" and _route(scope) == f"{API}/upload":
            with suppress(ClientDisconnect):  # nothing of it was kept
                response = await self._upload(Request(scope, receive))
                await response(scope, receive, send)
        elif scope["type"] == "http" and _route(scope) == f"{API}/upload_progress":  # of which gradio now knows nothing
            await Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _sweep(self) -> None:
        while True:
            await asyncio.to_thread(self.uploads.sweep)
            await asyncio.sleep(_SWEEP_EVERY)

    async def _upload(self, request: Request) -> Response:
        """One file of the form field `files` -> a list of its path, as gradio's own route answers.

        Until it is complete it has no name on the disk: one that is broken off leaves nothing.
        """
        try:
            parser = MultiPartParser(request.headers, _limited(request, MAX_BYTES + _ENVELOPE), max_files=1)
            form = await parser.parse()
            try:
                file = form["files"]
                if isinstance(file, str):
                    raise MultiPartException("text, no file")
                path = await asyncio.to_thread(self.uploads.keep, file.file, file.filename or "")
            finally:
                await form.close()
        except _TooLarge:
            return PlainTextResponse(f"The video is larger than {MAX_BYTES // 2**20} MB: send a shorter one.", 413)
        except (MultiPartException, KeyError):
            return PlainTextResponse("Send one video, in the form field files.", 400)
        return JSONResponse([str(path)])


class _TooLarge(Exception):
    """A request's body is beyond its limit."""


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body, piece by piece. Raises _TooLarge beyond `most` bytes, at once where the head says so."""
    claimed = request.headers.get("content-length", "0")
    if claimed.isdecimal() and len(claimed) < 20 and int(claimed) > most:
        raise _TooLarge
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise _TooLarge
        yield piece


def _route(scope: "Scope") -> str:
    """The path that is asked for, without the prefix under which a proxy serves the page."""
    return scope["path"].removeprefix(scope.get("root_path", "")).rstrip("/") or "/"
