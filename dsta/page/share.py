"""What others show of the page: its title, description, picture and icon, in place of gradio's own.

A picture must be named by a whole address, so this is done where the address is known: in each answer.
"""

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TITLE = "Which sign is this?"
_DESCRIPTION = (
    "A short video of one sign goes in, the most likely words come out – recognised from 27 joints of the body and "
    "hands, with everything the network saw on show. The video is deleted at once."
)
PICTURE, ICON = Path(__file__).with_name("card.png"), Path(__file__).with_name("icon.png")
_SIZE = 1200, 630  # of the picture, in pixels
_THEIRS = re.compile(rb'\s*<meta\s+(?:property|name)="(?:og|twitter):[^>]*>')


class Share:
    """ASGI middleware: answers `/card.png`, and writes the page's own head."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        route = scope["path"].removeprefix(scope.get("root_path", ""))
        if route == "/card.png":
            await FileResponse(PICTURE, headers={"cache-control": "max-age=86400"})(scope, receive, send)
        elif route in ("", "/"):
            await self._page(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _page(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        held: list[Message] = []

        async def hold(message: "Message") -> None:
            held.append(message)

        await self.app(scope, receive, hold)
        body = b"".join(message.get("body", b"") for message in held)
        start = next(message for message in held if message["type"] == "http.response.start")
        if start["status"] == 200:
            body = _THEIRS.sub(b"", body).replace(b"</head>", head(_address(scope)).encode() + b"</head>", 1)
            MutableHeaders(scope=start)["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})


def head(address: str) -> str:
    """The page's title, description and picture, as HTML. address: the page's own, without a slash at its end."""
    said = {"title": TITLE, "description": _DESCRIPTION, "image": f"{address}/card.png"}
    tags = [f"<title>{TITLE}</title>", f'<meta name="description" content="{escape(_DESCRIPTION)}">']
    wide = {"width": _SIZE[0], "height": _SIZE[1], "alt": "A drawn skeleton of a signer beside a ranked list of words"}
    whole = said | {"type": "website", "url": f"{address}/"} | {f"image:{name}": str(wide[name]) for name in wide}
    tags += [f'<meta property="og:{name}" content="{escape(text)}">' for name, text in whole.items()]
    tags += [f'<meta name="twitter:{name}" content="{escape(text)}">' for name, text in said.items()]
    tags.append('<meta name="twitter:card" content="summary_large_image">')
    return "\n".join([*tags, '<link rel="icon" type="image/png" href="favicon.ico">\n'])


def _address(scope: "Scope") -> str:
    """The page's address as its visitors know it, where a proxy says it in the usual headers."""
    headers = Headers(scope=scope)
    scheme = headers.get("x-forwarded-proto", scope["scheme"]).split(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
    return f"{scheme}://{host}{scope.get('root_path', '')}".rstrip("/")
