"""The page's panels: what it says of itself, of a vocabulary and of what was recognised, as HTML. Text from files and
weights is escaped."""

import base64
import json
from html import escape
from pathlib import Path

from dsta.common import UserError
from dsta.keypoints import POSE_SUFFIXES
from dsta.page import draw, signs
from dsta.page.find import Found, Part, Pictures
from dsta.page.vocabularies import Vocabulary
from dsta.recognize import Recognition, as_dict

SKELETON_FILES = list(POSE_SUFFIXES)
STREAM_TITLES = {"joint": "Joints", "bone": "Bones", "joint_motion": "Joint motion", "bone_motion": "Bone motion"}

HEADER = """<header><h1>Which sign is this?</h1><p>A short video of one sign goes in, the most likely words come out –
recognised from 27 joints of the body and hands, with everything the network saw on show.</p>
<p id="said" class="unseen" role="status"></p><div id="lost" role="alert"></div></header>"""
"""#said is for those who listen to the page; #lost says that the connection is."""

NOTICE = '<p id="notice" class="note" role="alert"></p>'
"""Where the browser says what it could not do."""

CAMERA = f"""<div id="camera" class="asks"><p class="tries"><button type="button" data-camera="record">Record with the
camera</button><button type="button" data-camera="live">Live</button><button type="button" data-camera="close">Close the
camera</button></p><div class="stage" data-bones="{escape(signs.bones())}"><video muted playsinline></video>
<canvas></canvas><b class="count"></b><p class="hint" role="status"></p></div><p class="latest"></p>
<ol class="history" reversed></ol></div>"""
"""What camera.js moves."""

PRIVACY = """<p class="quiet small">The server deletes your video as soon as it is recognised, within ten minutes in
any case. Pictures and results exist only in your browser.</p>"""

_EMPTY = """<div class="card"><h3 aria-level="2">How to film a sign</h3><ul>
<li><b>One sign</b>, 1 to 4 seconds: start and end with the hands down.</li>
<li><b>From the waist up</b>, one person, facing the camera.</li>
<li><b>Both hands in view</b> all the time, in good light.</li></ul>
<p class="quiet">The five closest signs then appear here, and the skeleton that the network saw.</p>{}</div>"""
_KNOWS = """<p class="quiet">It knows {}, one at a time: no sentences, no finger-spelling. {}</p>"""

_ABOUT = """## What it is
DSTA-SLR recognises **isolated signs**{} from the movement of joints.
## How it works
1. A pose estimator finds 27 joints in each frame: nose, shoulders, elbows, wrists, and ten points of each hand.
2. Four streams are made of them: joints, bones, and the motion of both.
3. A network for each stream has learnt which joints belong together, and how they move.
4. The four answers are averaged; where none stands out, the page says that it is not sure.
## What it cannot do
It knows only the signs listed below, one at a time, as the people in its training data make them. It reads no
sentences, finger-spelling or facial grammar and is **not an interpreter**: do not rely on it where an error matters.
## Licence and citation
Code: Apache-2.0. Weights that come along: research use only.

Lianyu Hu, Liqing Gao, Zekang Liu, Wei Feng: *Dynamic Spatial-Temporal Aggregation for Skeleton-Aware Sign Language
Recognition*, LREC-COLING 2024, [arXiv:2403.12519](https://arxiv.org/abs/2403.12519)."""


def counted(number: int, of: Vocabulary) -> str:
    """'71 American signs', or '12 signs of “mine”' where the language is not known; as HTML."""
    signs = "sign" if number == 1 else "signs"
    return f"{number} {escape(of.kind)} {signs}" if of.kind else f"{number} {signs} of “{escape(of.folder.name)}”"


def empty_html(of: Vocabulary | None = None) -> str:
    """What stands where the answer will: how to film a sign and, folded, which signs it may be."""
    if of is None:
        return _EMPTY.format("")
    ensemble = of.recognizer().ensemble
    other = "Of another sign it says so in about half of the cases, else it takes it for one of these."
    other = other if ensemble.familiar else "Any other sign it takes for one of these."
    knows = _KNOWS.format(counted(len(of.recognizer().glosses), of), other)
    return _EMPTY.format(knows + signs.grid_html(of, _signs(of)[0]))


def about_text(of: Vocabulary | None = None) -> str:
    """The tab About, as Markdown."""
    return _ABOUT.format(f" of {of.kind} Sign Language" if of and of.kind else "")


def signs_html(of: Vocabulary) -> str:
    """All signs of a vocabulary."""
    title, words = _signs(of)
    return f"<h2>{title}</h2>{words}"


def not_ready_html(why: UserError) -> str:
    """What stands where the answer would, of weights that cannot be used."""
    return f'<div class="card"><h3 aria-level="2">Not ready yet</h3><p>{escape(str(why))}</p></div>'


def problem_html(sentence: str) -> str:
    """What stands where the answer would, of a run that came to none."""
    title = '<h3 aria-level="2">This did not work</h3>'
    return f'<div class="card unsure">{title}<p>{escape(sentence, quote=False)}</p></div>'


def _signs(of: Vocabulary) -> tuple[str, str]:
    glosses = sorted(of.recognizer().glosses, key=str.casefold)
    words = "".join(f"<span>{escape(gloss)}</span>" for gloss in glosses)
    return f"The {counted(len(glosses), of)} it knows", f'<p class="chips">{words}</p>'


def percent_html(share: float) -> str:
    """0.4231 -> '42%', as HTML; what is neither nothing nor everything is never rounded to it."""
    return "&lt;1%" if 0 < share < 0.01 else "&gt;99%" if 0.99 < share < 1 else f"{share:.0%}"


def data_uri(content: bytes, kind: str = "image/webp") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def answer_html(result: Recognition, file: str, among: Vocabulary) -> str:
    """The ranked glosses, and how far to trust them; a link holds the whole answer as JSON. Files' text is escaped."""
    quality, sure = result.quality, result.quality["confident"]
    verdict = "Best match among" if sure else "<b>Not sure.</b> The closest of"
    verdict, notes = f"{verdict} {counted(len(result.predictions), among)}", quality["notes"]
    if quality.get("known_sign") is False:
        verdict = f"<b>Probably none of the {counted(len(result.predictions), among)}.</b> The closest is"
        notes = notes[:-1]  # which says the same
    bar = '<li><b>{}</b><span>{}</span><i style="width:{:.1f}%"></i></li>'
    bars = [bar.format(escape(p.gloss), percent_html(p.score), 100 * p.score) for p in result.predictions[:5]]
    notes = [f'<p class="note">{escape(note)}</p>' for note in notes]
    parts = [
        f"{part.replace('_', ' ')} seen: {percent_html(quality[part])}" for part in ("body", "left_hand", "right_hand")
    ]
    chips = [f"<span>{chip}</span>" for chip in (f"{quality['seconds']:.1f} s, {quality['frames']} frames", *parts)]
    time = ", ".join(f"{escape(step)} {seconds:.1f} s" for step, seconds in result.timings.items())
    streams = ""
    for name, predictions in result.streams.items():
        cells = [f"<td>{escape(p.gloss)} <small>{percent_html(p.score)}</small></td>" for p in predictions[:3]]
        streams += f"<tr><th>{STREAM_TITLES.get(name, escape(name))}</th>{''.join(cells)}</tr>"
    text = json.dumps(as_dict(file, result, len(result.predictions)))
    whole = data_uri(text.encode(), "application/json")
    stem = escape(Path(file).stem)
    meant = quality["certainty"]
    meaning = f'<p class="quiet small meaning">{escape(meant["meaning"])}</p>' if meant else ""
    skeletons = ""
    for ending in POSE_SUFFIXES:
        content = data_uri(result.pose.encoded(ending), "application/octet-stream")
        skeletons += f' · <a download="{stem}{ending}" href="{content}">Skeleton as {ending}</a>'
    return f"""<div class="card{"" if sure else " unsure"}"><p class="quiet verdict">{verdict}</p>
<h2>{escape(result.predictions[0].gloss)}</h2>{meaning}<ol>{"".join(bars)}</ol>
{signs.beside_html(result, among)}
{"".join(notes)}<p class="chips">{"".join(chips)}</p>
<details><summary>What each of the four streams said</summary><table>{streams}</table></details>
<p class="quiet small">Time: {time}. <a download="result.json" href="{whole}">Save as JSON</a>{skeletons}</p></div>"""


def pictures_html(result: Recognition, found: Found) -> str:
    """The moving video with its skeleton, if there is one, and still frames of what the network saw."""
    wide, tall = (data_uri(draw.to_webp([draw.filmstrip(result.seen, *shape)])) for shape in ((6, 2), (3, 4)))
    colours = {"signer’s left": draw.LEFT, "signer’s right": draw.RIGHT}
    legend = "".join(f'<span><i style="background:rgb{rgb}"></i>{side}</span>' for side, rgb in colours.items())
    return f"""<div class="card"><div class="pictures">
{_moving_html(found.draw()) if found.draw else ""}
<figure class="strip"><picture><source media="(max-width: 640px)" srcset="{tall}">
<img src="{wide}" alt="The skeleton alone, frame by frame"></picture>
<figcaption>What the network saw: {min(12, len(result.seen))} of {len(result.seen)} frames</figcaption></figure></div>
<p class="legend">{legend}<span>faint: less certain</span><span>missing: not seen</span></p></div>"""


def _moving_html(pictures: Pictures) -> str:
    """The moving picture, which stands still for those who want that."""
    return f"""<figure><picture><source media="(prefers-reduced-motion: reduce)" srcset="{data_uri(pictures.still)}">
<img src="{data_uri(pictures.moving)}" alt="The video with its skeleton"></picture>
<figcaption>Found in the video</figcaption></figure>"""


def part_html(part: Part) -> str:
    """Where a long video moves, with handles for another part of it; page.js moves them. Empty where the part was asked
    for: its handles are there already."""
    if not part.movement:
        return ""
    steps = len(part.movement)
    line = " ".join(f"L{i} {1 - share:.2f}L{i + 1} {1 - share:.2f}" for i, share in enumerate(part.movement))
    handle = '<input type="range" min="0" max="{:.1f}" step="0.1" value="{:.1f}" aria-label="{}">'
    ends = [handle.format(part.seconds, *end) for end in ((part.start, "Start"), (part.end, "End"))]
    return f"""<div class="card"><p><b>Which part is the sign?</b> <output></output>. At first
it is where most moves; move its ends for another part.</p>
<div class="timeline"><svg viewBox="0 0 {steps} 1" preserveAspectRatio="none" aria-hidden="true">
<path d="M0 1{line}L{steps} 1Z"/></svg><i></i>
{"".join(ends)}</div></div>"""
