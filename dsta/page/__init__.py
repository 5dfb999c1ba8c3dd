"""What the page is made of: panels, vocabularies, pictures of skeletons, its style and its script. `app.py` puts it
together."""

from pathlib import Path

_HERE = Path(__file__).parent
STYLES = tuple(_HERE / f"{name}.css" for name in ("style", "signs", "camera", "lesson"))
_SCRIPTS = ("page", "notices", "connection", "access", "signs", "camera", "lesson")
SCRIPTS = tuple(_HERE / f"{name}.js" for name in _SCRIPTS)
"""They define `window.dsta`, whose functions the page's events call."""
