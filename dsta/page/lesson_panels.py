"""The tab "Teach" as HTML; lesson.js makes it work. Names that visitors give are escaped."""

import hashlib
from html import escape

import numpy as np

from dsta.keypoints import POSE_SUFFIXES
from dsta.page import draw
from dsta.page.panels import data_uri
from dsta.skeleton import LEFT_HAND, RIGHT_HAND
from dsta.streams import seen
from dsta.teach import MOST_CLIPS, SIGNS_SUFFIX, OwnSigns

_TILE = 60, 72  # pixels, shown at this size
_VIDEOS = ",".join(("video/*", ".mkv", ".avi", *POSE_SUFFIXES))
_EMPTY = """<p class="quiet">Nothing yet. Two signs are enough to begin with: one clip of each teaches them, three do
better.</p>"""

PANEL = f"""<div id="lesson">
<section class="card" aria-labelledby="lesson-1"><h2 class="title" id="lesson-1">1. Show a sign</h2>
<p class="quiet">Name it, then give 1 to {MOST_CLIPS} short clips. The page knows it at once.</p>
<form id="lesson-form"><label for="lesson-name">The sign’s name</label>
<input id="lesson-name" type="text" maxlength="60" autocomplete="off" placeholder="tea">
<p class="lesson-ways"><button type="button" id="lesson-record" class="lesson-main">Record 3 takes</button>
<button type="button" data-choose="lesson-files">Choose clips</button></p>
<input id="lesson-files" type="file" multiple accept="{_VIDEOS}" hidden>
<figure id="lesson-camera" hidden><video muted playsinline></video><figcaption role="status"></figcaption>
<button type="button" id="lesson-camera-off">Camera off</button></figure>
<p class="quiet small">Or drop files here. Without a name each file’s own counts: tea-1.mp4 and tea-2.mp4 are “tea”.
Skeleton files ({", ".join(POSE_SUFFIXES)}) do too.</p></form>
<div id="lesson-work" hidden><progress aria-label="Clips looked at"></progress><span class="small" role="status"></span>
<button type="button" id="lesson-stop">Stop</button></div>
<div id="lesson-notes" role="alert"></div></section>
<section class="card" aria-labelledby="lesson-2"><h2 class="title" id="lesson-2">2. Your signs</h2>
<div id="lesson-list">{_EMPTY}</div>
<p class="lesson-ways"><button type="button" id="lesson-save" disabled>Save file</button>
<button type="button" data-choose="lesson-load">Load file</button></p>
<input id="lesson-load" type="file" hidden>
<p class="quiet small">The server forgets your signs when you leave the page, and your videos as soon as it has looked
at them. The file ({SIGNS_SUFFIX}) holds names and skeletons, no video.</p></section>
<section class="card" aria-labelledby="lesson-3"><h2 class="title" id="lesson-3">3. Try it</h2>
<fieldset><legend>Recognise among</legend>
<label><input type="radio" name="lesson-among" value="" checked> my signs</label>
<label><input type="radio" name="lesson-among" value="vocabulary"> my signs and
<span id="lesson-beside">those of the first tab’s choice</span></label></fieldset>
<p class="lesson-ways"><button type="button" id="lesson-try-record" class="lesson-main" disabled>Record one</button>
<button type="button" data-choose="lesson-try" id="lesson-try-choose" disabled>Choose a clip</button></p>
<input id="lesson-try" type="file" accept="{_VIDEOS}" hidden></section>
<div id="lesson-answer"></div></div>"""


def list_html(signs: OwnSigns, pictures: dict[bytes, str]) -> str:
    """The signs with a tile of each clip and a button that removes them. pictures: sha256 of a clip -> its tile, those
    that were drawn before; becomes those of these signs."""
    drawn: dict[bytes, str] = {}
    rows = []
    for name, clips in signs.clips.items():
        tiles = ""
        for clip in clips:
            key = hashlib.sha256(clip.tobytes()).digest()
            drawn[key] = pictures.get(key) or data_uri(_tile(clip))
            tiles += f'<img src="{drawn[key]}" width="{_TILE[0]}" height="{_TILE[1]}" alt="">'
        said = escape(name)
        count = f"{len(clips)} clip{'s' * (len(clips) > 1)}"
        rows.append(
            f'<li><div><b>{said}</b> <span class="quiet small">{count}</span></div><div class="tiles">{tiles}</div>'
            f'<button type="button" data-remove="{said}" aria-label="Remove {said}">Remove</button></li>'
        )
    pictures.clear()
    pictures.update(drawn)
    return f"<ul>{''.join(rows)}</ul>" if rows else _EMPTY


def _tile(clip: np.ndarray) -> bytes:
    """A clip's middle frame among those with a hand, as a picture, twice as large as it is shown."""
    found = seen(clip)
    with_hand = np.flatnonzero(found[:, LEFT_HAND].any(1) | found[:, RIGHT_HAND].any(1))
    size = 2 * _TILE[0], 2 * _TILE[1]
    frame = draw.crop_to_skeleton(clip, *size)[with_hand[len(with_hand) // 2]]
    return draw.to_webp([draw.draw_skeleton(None, frame, size)])
