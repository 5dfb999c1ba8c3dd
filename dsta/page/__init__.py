"""What the page is made of: panels, vocabularies, pictures of skeletons, its style and its script. `app.py` puts it
together."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")
SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("page.js", "notices.js", "connection.js", "access.js"))
"""They define `window.dsta`, whose functions the page's events call."""
