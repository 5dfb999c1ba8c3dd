"""How the signs of a vocabulary look: their average skeletons, as the browser draws them (signs.js)."""

import asyncio
import base64
import functools
import json
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dsta.checkpoint import SignAverages
from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page import draw, vocabularies
from dsta.page.vocabularies import Vocabulary
from dsta.recognize import Recognition
from dsta.reference import in_step, on_shoulders
from dsta.skeleton import BONES, CANVAS
from dsta.video import ESTIMATOR

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ROUTE = "/signs/"
_SECONDS = 2.0  # that an average takes when it is played
_VIEW, _CORNER = 360, (76, 45)  # pixels of the canvas that are drawn, and where they begin: an average fills them
_EXAMPLES = 6
_CANDIDATES = 3  # that can be held beside the visitor's skeleton


def motion(clip: np.ndarray) -> str:
    """A clip (T, 27, 3) whose shoulders lie where an average's do -> base64 of (T, 27, 3) bytes: x and y in 255ths of
    the part of the canvas that is drawn, and 1 where seen."""
    there = draw.drawable(clip)
    places = np.clip((np.nan_to_num(clip[..., :2]) - _CORNER) * (255 / _VIEW), 0, 255).round()
    return base64.b64encode(np.dstack([places, there[..., None]]).astype(np.uint8).tobytes()).decode()


def bones() -> str:
    """Which joints a line joins and in which of the three colours, as JSON: [[parent, child, colour], …]."""
    colours = [draw.LEFT, draw.RIGHT, draw.MIDDLE]
    named = [[parent, child, colours.index(draw.colour(child))] for parent, child in BONES]
    return json.dumps({"bones": named, "colours": [f"rgb{colour}" for colour in colours]})


def grid_html(of: Vocabulary, title: str) -> str:
    """All signs of a vocabulary, folded: a field to search in and a tile for each, which signs.js fills; and some that
    are answered on a click. Just their names, where the weights have no averages."""
    recognizer = of.recognizer()
    averages = recognizer.ensemble.averages
    glosses = sorted(recognizer.glosses, key=str.casefold)
    if averages is None:
        words = "".join(f"<span>{escape(gloss)}</span>" for gloss in glosses)
        return f'<details><summary>{title}</summary><p class="chips">{words}</p></details>'
    place = {gloss: i for i, gloss in enumerate(recognizer.glosses)}
    well_known = np.argsort(-averages.signers, kind="stable")[:_EXAMPLES]
    tries = "".join(
        f'<button type="button" data-try="{i}">{escape(recognizer.glosses[i])}</button>'
        for i in sorted(well_known, key=lambda i: recognizer.glosses[i].casefold())
        if averages.signers[i]
    )
    tiles = "".join(
        f'<button type="button" class="tile" data-sign="{place[gloss]}"><span>{escape(gloss)}</span></button>'
        for gloss in glosses
    )
    count = f"Search {len(glosses)} signs"
    return f"""<div class="signs" data-signs="{quote(of.folder.name)}" data-bones="{escape(bones())}">
<p class="tries"><span class="quiet">No video at hand? Try</span> {tries}</p>
<details><summary>{title}</summary><input type="search" placeholder="{count}" aria-label="{count}">
<p class="quiet small">Each is the average of several signers, made of the clips that taught the networks. The examples
above are such averages too. Press one to see it larger.</p><div class="tiles">{tiles}</div></details></div>"""


def beside_html(result: Recognition, among: Vocabulary) -> str:
    """The visitor's skeleton beside the average of the best match, in step, and the next candidates a click away;
    empty where the weights have no averages, or are a visitor's own, which lie in no folder."""
    if not among.folder.is_dir():
        return ""
    recognizer = among.recognizer()
    averages = recognizer.ensemble.averages
    if averages is None:
        return ""
    place = {gloss: i for i, gloss in enumerate(recognizer.glosses)}
    seen, shown = on_shoulders(result.seen), []
    for prediction in result.predictions[:_CANDIDATES]:
        number = place[prediction.gloss]
        if averages.signers[number]:
            steps, mirrored = in_step(seen, averages.joints[number])
            shown.append(
                {"gloss": prediction.gloss, "signers": int(averages.signers[number]), "steps": steps,
                 "mirrored": mirrored, "motion": motion(averages.joints[number])}
            )  # fmt: skip
    if not shown:
        return ""
    choices = "".join(
        f'<button type="button" data-beside="{i}" aria-pressed="{"false" if i else "true"}">{escape(str(of["gloss"]))}'
        "</button>"
        for i, of in enumerate(shown)
    )
    return f"""<figure class="beside" data-bones="{escape(bones())}" data-motion="{motion(seen)}"
data-beside="{escape(json.dumps(shown))}"><div><canvas width="360" height="360" role="img"
aria-label="The skeleton that the network saw"></canvas><canvas width="360" height="360" role="img"
aria-label="The average of signers"></canvas></div><figcaption><span>yours</span><span class="of"></span></figcaption>
<p class="tries"><span class="quiet">Compare with</span> {choices}</p></figure>"""


class Signs:
    """ASGI middleware: answers `/signs/NAME`, the averages of a vocabulary for signs.js, and `/signs/NAME/3.npz`, one
    of them as a skeleton file."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        route = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        if scope["type"] != "http" or not route.startswith(ROUTE):
            await self.app(scope, receive, send)
            return
        answer = await asyncio.to_thread(_answer, route.removeprefix(ROUTE))
        await answer(scope, receive, send)


def _answer(asked: str) -> Response:
    name, _, number = asked.removesuffix(".npz").partition("/")
    try:
        recognizer = vocabularies.vocabulary(name).recognizer()
    except UserError as error:
        return PlainTextResponse(str(error), 404)
    averages = recognizer.ensemble.averages
    if averages is None:
        return PlainTextResponse("These weights have no averages.", 404)
    if not number:
        return JSONResponse(_content(averages), headers={"cache-control": "max-age=600"})
    if not (number.isdecimal() and len(number) < 6 and int(number) < len(averages.signers)):
        return PlainTextResponse("There is no such sign.", 404)
    clip = averages.joints[int(number)]
    pose = Pose(clip, len(clip) / _SECONDS, CANVAS, CANVAS, ESTIMATOR)
    return Response(pose.encoded(".npz"), media_type="application/octet-stream")


@functools.lru_cache(maxsize=8)
def _content(averages: SignAverages) -> list[dict[str, Any]]:
    return [
        {"signers": int(count), "motion": motion(clip) if count else ""}
        for clip, count in zip(averages.joints, averages.signers, strict=True)
    ]
