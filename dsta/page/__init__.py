"""What the page is made of: panels, vocabularies, pictures of skeletons, its style and its script. `app.py` puts it
together."""

from pathlib import Path

STYLES = tuple(Path(__file__).with_name(name) for name in ("style.css", "lesson.css"))
_SCRIPTS = ("page.js", "notices.js", "connection.js", "access.js", "lesson.js")
SCRIPTS = tuple(Path(__file__).with_name(name) for name in _SCRIPTS)
"""They define `window.dsta`, whose functions the page's events call."""
