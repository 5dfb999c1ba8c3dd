"""What the page is made of: panels, vocabularies, pictures of skeletons, its style and its script. `app.py` puts it
together."""

from pathlib import Path

_HERE = Path(__file__).parent
STYLES = tuple(_HERE / name for name in ("style.css", "signs.css"))
SCRIPTS = tuple(_HERE / name for name in ("page.js", "notices.js", "connection.js", "access.js", "signs.js"))
"""They define `window.dsta`, whose functions the page's events call."""
