"""What the page is made of: panels, vocabularies, pictures of skeletons, its style and its script. `app.py` puts it
together."""

from pathlib import Path

_HERE = Path(__file__).parent
STYLES = tuple(_HERE / name for name in ("style.css", "signs.css", "camera.css"))
SCRIPTS = tuple(_HERE / f"{name}.js" for name in ("page", "notices", "connection", "access", "signs", "camera"))
"""They define `window.dsta`, whose functions the page's events call."""
