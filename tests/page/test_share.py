"""What others show of the page."""

import re

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import app
from dsta.page import share

THEIRS = """<html><head><meta property="og:title" content="Gradio" />
<meta
    property="og:image"
    content="https://elsewhere.example/theirs.jpg"
/><meta name="twitter:creator" content="@theirs" /><meta name="viewport" content="x" /></head><body>é</body></html>"""


@pytest.fixture
def client():
    async def page(request):
        return HTMLResponse(THEIRS, 500 if "broken" in request.query_params else 200)

    return TestClient(Starlette(routes=[Route("/", page)], middleware=[Middleware(share.Share)]), "http://here:1")


def test_the_share_card_is_the_pages_own(client):
    answer = client.get("/")
    assert "theirs" not in answer.text and "Gradio" not in answer.text and 'name="viewport"' in answer.text
    said = dict(re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)">', answer.text))
    assert said["og:title"] == said["twitter:title"] == app.demo.title and said["og:url"] == "http://here:1/"
    assert said["og:image"] == said["twitter:image"] == "http://here:1/card.png"
    assert said["description"] == said["og:description"] and len(said["description"]) > 60
    assert f"<title>{app.demo.title}</title>" in answer.text and "<body>é</body>" in answer.text
    picture = client.get("/card.png")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")


def test_behind_a_proxy_it_names_the_address_that_visitors_know(client):
    proxy = {"x-forwarded-host": 'signs.example"><b>, inner', "x-forwarded-proto": "https, http"}
    assert 'content="https://signs.example&quot;&gt;&lt;b&gt;/card.png"' in client.get("/", headers=proxy).text


def test_nothing_else_is_touched(client):
    assert client.head("/").status_code == 200 and client.get("/x").status_code == 404
    assert client.get("/?broken=1").text == THEIRS


def test_pictures_are_of_the_size_that_is_said():
    with Image.open(share.PICTURE) as picture:
        assert f'"og:image:width" content="{picture.width}"' in share.head("http://here")
        assert f'"og:image:height" content="{picture.height}"' in share.head("http://here")
    with Image.open(app.LAUNCH["favicon_path"]) as icon:
        assert icon.width == icon.height >= 192
