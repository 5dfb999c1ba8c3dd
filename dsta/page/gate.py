"""What stands between the network and gradio: the routes that the page needs, bounded requests, and the uploads."""

import asyncio
import errno
import inspect
import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dsta.common import UserError
from dsta.page.joins import Joins
from dsta.page.uploads import MAX_BYTES, TOO_MANY, Uploads, run_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/gradio_api"
_CALL = f"{API}/call/v2/"
_OPEN = {
    "GET": r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|card\.png|pwa_icon/(192|512))"
    r"|/(assets|static)/.+|/signs/[^/]+(/[0-9]+\.npz)?"
    rf"|{API}/(info|app_id|startup-events|upload_progress|queue/data|theme\.css|heartbeat/\w+|file=.+)",
    "POST": rf"/live|{API}/(upload|queue/join|run/predict|cancel|reset|mcp)",
}
"""The routes that the page, gradio's clients and those of MCP need, by method; gradio has many more."""
_MOST_JSON = 100_000  # bytes
_ENVELOPE = 10_000  # bytes of a form beside its file
_MOST_ARRIVING = 20  # uploads under way, each a file without a name, of MAX_BYTES at most
_ARRIVES_WITHIN = 300.0  # seconds
_SWEEP_EVERY = 30.0  # seconds
_FILE = "gradio.FileData"  # how gradio's clients mark a file in JSON


class Gate:
    """ASGI middleware: only what the page needs comes through, and of a bounded size.

    It takes the uploads instead of gradio, whose paths are hashes of what the files hold and therefore shared by all
    who send the same, and sweeps them for as long as the server runs. Of a file in another request it leaves but the
    path, where that is an upload's, and nothing of any other: gradio would fetch one from an address whatever its size,
    and stumble over a folder.
    """

    def __init__(
        self,
        app: "ASGIApp",
        uploads: Uploads,
        calls: Mapping[str, Callable[..., Any]] | None = None,
        also: Sequence[Callable[[], None]] = (),
    ) -> None:
        """calls: the functions that programs may call, by their names. also: what else is swept as often as uploads."""
        self.app, self.uploads, self.joins, self.also = app, uploads, Joins(), also
        self._arriving = 0  # uploads whose bodies are under way
        self.calls = {name: list(inspect.signature(function).parameters) for name, function in (calls or {}).items()}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "lifespan":
            sweeping = asyncio.create_task(self._sweep())
            try:
                await self.app(scope, receive, send)
            finally:
                sweeping.cancel()
                self.uploads.clear()
        elif scope["type"] == "http":
            with suppress(ClientDisconnect):  # nothing of it was kept
                await self._pass(scope, receive, send)

    async def _pass(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers a request, or hands it on."""
        route, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"].replace("HEAD", "GET")
        answer: Response | None = None
        route = route.rstrip("/") or "/"
        called, *event = route.removeprefix(_CALL).split("/") if route.startswith(_CALL) else [""]
        is_call = called in self.calls and len(event) == {"POST": 0, "GET": 1}.get(method)  # ask, then fetch the answer
        if not (is_call or re.fullmatch(_OPEN.get(method, ""), route)):
            answer = PlainTextResponse("There is nothing here.", 404)
        elif route == f"{API}/upload":
            answer = await self._upload(Request(scope, receive))
        elif route == f"{API}/upload_progress":  # of which gradio, without the upload, knows nothing
            answer = Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")
        elif method == "POST" and route != "/live":  # which takes pictures, and bounds them itself
            answer, receive = await _checked(Request(scope, receive), receive, self.calls.get(called))
            if answer is None and (is_call or route == f"{API}/queue/join"):
                answer, receive = await self._join(Request(scope, receive), receive, is_call)
        elif is_call or route == f"{API}/queue/data":
            self.joins.fetch(_session(Request(scope), Request(scope).query_params, is_call))
        await (answer or self.app)(scope, receive, send)

    async def _sweep(self) -> None:
        while True:
            for sweep in (self.uploads.sweep, *self.also):
                await asyncio.to_thread(sweep)
            await asyncio.sleep(_SWEEP_EVERY)

    async def _join(self, request: Request, receive: "Receive", is_call: bool) -> tuple[Response | None, "Receive"]:
        """One event more for the queue -> a refusal, or None and the body to be read again."""
        body = await request.body()
        asked = json.loads(body)
        if self.joins.join(_address(request), _session(request, asked if isinstance(asked, dict) else {}, is_call)):
            return None, _again(body, receive)
        return PlainTextResponse("Fetch the answers to what you have asked before.", 429), receive

    async def _upload(self, request: Request) -> Response:
        """As `_received`, of so many at once: the limit of all uploads counts those that are complete."""
        if self._arriving >= _MOST_ARRIVING:
            return PlainTextResponse(TOO_MANY, 503)
        self._arriving += 1
        try:
            return await self._received(request)
        finally:
            self._arriving -= 1

    async def _received(self, request: Request) -> Response:
        """One file of the form field `files` -> a list of its path, as gradio's own route answers.

        Until it is complete it has no name on the disk: one that is broken off leaves nothing.
        """
        try:
            parser = MultiPartParser(request.headers, _limited(request, MAX_BYTES + _ENVELOPE), max_files=1)
            async with asyncio.timeout(_ARRIVES_WITHIN):
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
        except TimeoutError:
            return PlainTextResponse("The video took too long to arrive: send a shorter one.", 408)
        except (MultiPartException, KeyError):
            return PlainTextResponse("Send one video, in the form field files.", 400)
        except UserError as error:
            return PlainTextResponse(str(error), 503)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            logging.exception("An upload cannot be kept.")
            return PlainTextResponse("The server has no room left for a video: try again later.", 507)
        return JSONResponse([str(path)])


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _session(request: Request, given: Mapping[str, Any], is_call: bool) -> str:
    """Whose answers are fetched together; a program's calls have no session, so its address stands for one."""
    return f"calls from {_address(request)}" if is_call else str(given.get("session_hash", ""))[:64]


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


async def _checked(
    request: Request, receive: "Receive", known: Sequence[str] | None
) -> tuple[Response | None, "Receive"]:
    """Reads a body of JSON -> a refusal, or None and the body to be read again. known: what the body may name."""
    try:
        body = b"".join([piece async for piece in _limited(request, _MOST_JSON)])
        asked = json.loads(body)
        if known is not None and not (isinstance(asked, dict) and set(asked) <= set(known)):
            return PlainTextResponse(f"This call takes an object of JSON with {' and '.join(known)}.", 400), receive
        if _FILE in json.dumps(asked):  # however it was escaped
            body = json.dumps(_named(asked)).encode()
            if _FILE.encode() in body:
                return PlainTextResponse("Files are uploaded; no path or address of one is taken.", 400), receive
    except _TooLarge:
        return PlainTextResponse(f"This is more than {_MOST_JSON} bytes of JSON.", 413), receive
    except (ValueError, RecursionError):
        return PlainTextResponse("This is no JSON.", 400), receive
    return None, _again(body, receive)


def _again(body: bytes, receive: "Receive") -> "Receive":
    """A body that was read, to be read once more."""
    whole: list[Message] = [{"type": "http.request", "body": body}]

    async def again() -> "Message":
        return whole.pop() if whole else await receive()

    return again


def _named(value: Any) -> Any:
    """A request in which each file has become its path, or nothing where it was not uploaded here."""
    if isinstance(value, list):
        return [_named(item) for item in value]
    if not isinstance(value, dict):
        return value
    meta, path = value.get("meta"), value.get("path")
    if isinstance(meta, dict) and meta.get("_type") == _FILE:
        return path if isinstance(path, str) and run_of(path) else ""
    return {name: _named(item) for name, item in value.items()}
