"""What the page is made of: panels, vocabularies, pictures of skeletons, its style and its script. `app.py` puts it
together."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")
SCRIPT = Path(__file__).with_name("page.js")
"""Defines `window.dsta`, whose functions the page's events call."""
