"""The camera's pictures, one at a time: where the joints are, how to stand, and of a live visitor which sign it was.

One visitor at a time has the seat, and with it a process that looks for joints; others are told so.
"""

import asyncio
import re
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page import vocabularies
from dsta.page.finder import Finder
from dsta.page.watch import RATE, Watch
from dsta.skeleton import CANVAS
from dsta.video import ESTIMATOR

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ROUTE = "/live"
MOST_PICTURE = 200_000  # bytes of a picture
_AWAY = 3.0  # seconds without a picture after which a seat is free
_CLOSED = 60.0  # seconds after which the process of a free seat is ended
_TAKEN = "Somebody else is using the camera mode just now: record or upload a video, or try again in a minute."


class Seat:
    """The one place before the camera, with a process that looks for joints from the first picture on."""

    def __init__(self) -> None:
        self._finder: Finder | None = None
        self._who, self._watch, self._last = "", Watch(), -np.inf
        self._gone: deque[str] = deque(maxlen=20)  # of whom a picture may come late
        self._lock = threading.Lock()

    def look(self, who: str, jpeg: bytes, seconds: float, signs: str, live: bool) -> dict[str, Any] | None:
        """A visitor's next picture -> what is said of it; None where somebody else has the seat. Raises UserError for
        what is no picture."""
        with self._lock:
            first = who != self._who
            if who in self._gone or (first and time.monotonic() - self._last < _AWAY):
                return None
            if first:
                self._who, self._watch = who, Watch()
            self._last = time.monotonic()
            self._finder = self._finder or Finder()
            joints, (width, height) = self._finder.look(jpeg, seconds, first)
            self._last = time.monotonic()
        scale = CANVAS / max(width, height)
        on_canvas = joints * np.array([scale, scale, 1], np.float32)
        look = self._watch.add(seconds, on_canvas, (width * scale, height * scale))
        places = (joints / [width, height, 1]).round(3)
        said = {"hint": look.hint, "moving": look.moving, "resting": look.resting, "joints": places.tolist()}
        if live and look.sign is not None:
            said["sign"] = live_sign(look.sign, signs)
        return said

    def leave(self, who: str) -> None:
        """A visitor has closed the camera: the seat is free. Who opens it again has another number."""
        with self._lock:
            self._gone.append(who)
            if who == self._who:
                self._who, self._last = "", time.monotonic() - _AWAY

    def close(self, at_once: bool = True) -> None:
        """Ends the process; at the end of the program, or once nobody has looked for a while."""
        with self._lock:
            if self._finder and (at_once or time.monotonic() - self._last > _CLOSED):
                self._finder.close()
                self._finder = None


def live_sign(clip: np.ndarray, label: str) -> dict[str, Any] | None:
    """A live sign (T, 27, 3) on the canvas -> its gloss and score, and whether that is sure; None where it is none.
    label: of the vocabulary that the visitor has chosen; by default the first."""
    there = list(vocabularies.found().values())
    among = next((one for one in there if one.label == label), there[0])
    try:
        result = among.recognizer().recognize(Pose(clip, RATE, CANVAS, CANVAS, ESTIMATOR))
    except UserError:  # no hand was seen
        return None
    best, quality = result.predictions[0], result.quality
    sure = quality["known_sign"] is not False and best.score >= among.recognizer().ensemble.threshold
    return {"gloss": best.gloss, "score": best.score, "sure": sure}


class Live:
    """ASGI middleware: answers `POST /live?who=…&time=…&mode=…&signs=…`, whose body is a JPEG; of one who leaves,
    without."""

    def __init__(self, app: "ASGIApp", seat: Seat | None = None) -> None:
        self.app, self.seat = app, seat or Seat()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "lifespan":
            tidying = asyncio.create_task(self._tidy())
            try:
                await self.app(scope, receive, send)
            finally:
                tidying.cancel()
                await asyncio.to_thread(self.seat.close)
        elif scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == ROUTE:
            with suppress(ClientDisconnect):
                await (await self._answer(Request(scope, receive)))(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_CLOSED / 4)
            await asyncio.to_thread(self.seat.close, False)

    async def _answer(self, request: Request) -> Response:
        asked = request.query_params
        who, milliseconds = asked.get("who", ""), asked.get("time", "")
        if not (re.fullmatch("[0-9]{1,40}", who) and re.fullmatch("[0-9]{1,9}", milliseconds)):
            return PlainTextResponse("A picture needs who and time, two numbers.", 400)
        if asked.get("mode") == "leave":
            await asyncio.to_thread(self.seat.leave, who)
            return Response()
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_PICTURE:
                return PlainTextResponse(f"A picture may have {MOST_PICTURE} bytes: send a smaller one.", 413)
        seconds, live = int(milliseconds) / 1000, asked.get("mode") == "live"
        try:
            said = await asyncio.to_thread(self.seat.look, who, body, seconds, asked.get("signs", "")[:200], live)
        except UserError as error:
            return PlainTextResponse(str(error), 400)
        return JSONResponse(said) if said is not None else PlainTextResponse(_TAKEN, 409)
