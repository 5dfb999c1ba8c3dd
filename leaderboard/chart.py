"""Points with their intervals as an SVG: drawn here, since gradio's plots know no error bars. Text is escaped.

Colours are the page's CSS variables, so that a picture follows the light and the dark theme.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

# A protocol's shape, the same shape as a letter, its colour.
SERIES = {
    "test": ("circle", "●", "var(--lb-1)"),
    "test-clean": ("ring", "○", "var(--lb-1)"),
    "test-videos": ("triangle", "▲", "var(--lb-1)"),
    "val": ("frame", "□", "var(--lb-2)"),
    "val-videos": ("triangle", "▲", "var(--lb-2)"),
    "val+test": ("square", "■", "var(--lb-2)"),
    "folds": ("diamond", "◆", "var(--lb-3)"),
}
OTHER = ("circle", "●", "var(--body-text-color)")


@dataclass(frozen=True)
class Point:
    """x in the axis' unit; y, low and high as percent; label: drawn beside it where there is room; tip: on hovering."""

    x: float
    y: float
    low: float
    high: float
    label: str = ""
    tip: str = ""
    series: str = "test"


@dataclass(frozen=True)
class PlotArea:
    """Where a chart's data lies on its picture, in pixels: a box, and the values at its edges."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    left: int = 40
    bottom: int = 40
    top: int = 14
    right: int = 14

    def across(self, value: float) -> float:
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - self.right)

    def down(self, value: float) -> float:
        return self.top + (self.y[1] - value) / (self.y[1] - self.y[0]) * (self.height - self.top - self.bottom)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, some `about` steps of 1, 2 or 5 × a power of ten."""
    rough = max(high - low, 1e-9) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two positive ones, for an axis of ratios: at most so many of 1, 2, 5, 10, 20 …; where fewer
    than two lie between, those of an axis of differences."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [value for power in powers for factor in factors if low <= (value := factor * 10.0**power) <= high]
        if len(found) <= most:
            break
    return found if len(found) > 1 else [value for value in ticks(low, high, 3) if low <= value <= high]


def axes(frame: PlotArea, xs: dict[float, str], ys: Iterable[float], x_title: str) -> str:
    parts = []
    for y in ys:
        parts.append(f'<path class="grid" d="M{frame.left},{frame.down(y):.1f}H{frame.width - frame.right}"/>')
        parts.append(f'<text x="{frame.left - 6}" y="{frame.down(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x, word in xs.items():
        place = f'x="{frame.across(x):.1f}" y="{frame.height - frame.bottom + 16}"'
        parts.append(f'<text {place} text-anchor="middle">{escape(word)}</text>')
    if x_title:
        middle = (frame.left + frame.width - frame.right) / 2
        parts.append(f'<text x="{middle:.0f}" y="{frame.height - 4}" text-anchor="middle">{escape(x_title)}</text>')
    return "".join(parts)


def mark(frame: PlotArea, point: Point, shift: float = 0) -> str:
    """A point, its interval and, for the pointer, its tip."""
    shape, _, colour = SERIES.get(point.series, OTHER)
    x, y = frame.across(point.x) + shift, frame.down(point.y)
    low, high = frame.down(point.low), frame.down(point.high)
    drawn = {
        "circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
        "ring": f'<circle class="open" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
        "square": f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>',
        "frame": f'<rect class="open" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>',
        "triangle": f'<path d="M{x:.1f},{y - 5:.1f}l5,9h-10z"/>',
        "diamond": f'<path d="M{x:.1f},{y - 5:.1f}l5,5l-5,5l-5,-5z"/>',
    }[shape]
    return (
        f'<g class="mark" style="--sign:{colour}"><title>{escape(point.tip)}</title>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>{drawn}'
        f'<rect class="halo" x="{x - 5:.1f}" y="{high:.1f}" width="10" height="{max(low - high, 8):.1f}"/></g>'
    )


def shifts(frame: PlotArea, points: Sequence[Point]) -> list[float]:
    """Points at the same x stand side by side, so that their intervals can be told apart: pixels to move each."""
    places = [round(frame.across(point.x) / 8) for point in points]
    moved = []
    for index, place in enumerate(places):
        same, before = places.count(place), places[:index].count(place)
        moved.append((before - (same - 1) / 2) * min(9, 70 / same))
    return moved


def labels(frame: PlotArea, points: Sequence[Point], moved: Sequence[float]) -> str:
    """Labels beside their points, the best point first; one without room is left out (its tip remains)."""
    places = [(frame.across(point.x) + by, frame.down(point.y) + 4) for point, by in zip(points, moved, strict=True)]
    taken = [(x - 5, x + 5, y) for x, y in places]
    parts = []
    for (x, y), point in sorted(zip(places, points, strict=True), key=lambda pair: pair[0][1]):
        wide = sum(8.6 if letter.isupper() else 6.8 for letter in point.label)
        for start, side, anchor in ((x + 8, x + 8, "start"), (x - 8 - wide, x - 8, "end")):
            end = start + wide
            free = all(start > right or end < left or abs(y - level) > 12 for left, right, level in taken)
            if point.label and free and frame.left <= start and end <= frame.width:
                taken.append((start, end, y))
                parts.append(f'<text x="{side:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(point.label)}</text>')
                break
    return "".join(parts)


def chart(points: Sequence[Point], x_title: str, size: tuple[int, int], name: str, words: Sequence[str] = ()) -> str:
    """An SVG of points with their intervals, x above 0 on an axis of ratios: one row may be a thousand times as slow as
    another. Or `words` name x = 0, 1, 2 …; then a line joins the points."""
    ys = ticks(min(point.low for point in points), max(point.high for point in points))
    if words:
        named, edges = {float(x): word for x, word in enumerate(words)}, (-0.4, len(words) - 0.6)
    else:
        values = [point.x for point in points]
        low, high = min(values) / 1.5, max(values) * 1.5  # points at one x stand side by side
        named = {math.log10(x): f"{x:g}" for x in log_ticks(low, high, 9 if size[0] > 500 else 5)}
        edges, points = (math.log10(low), math.log10(high)), [replace(p, x=math.log10(p.x)) for p in points]
    frame = PlotArea(*size, x=edges, y=(ys[0], ys[-1]), bottom=40 if x_title else 22)
    moved = [0.0] * len(points) if words else shifts(frame, points)
    line = " ".join(f"{frame.across(point.x):.1f},{frame.down(point.y):.1f}" for point in points) if words else ""
    body = axes(frame, named, ys, x_title) + (f'<polyline class="line" points="{line}"/>' if words else "")
    body += "".join(mark(frame, *pair) for pair in zip(points, moved, strict=True)) + labels(frame, points, moved)
    kind = "" if words else ' class="wide"' if size[0] > 500 else ' class="narrow"'
    return f'<svg{kind} viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(name)}">{body}</svg>'


def grid(cells: Mapping[tuple[int, int], tuple[float, str]], words: Sequence[str], name: str) -> str:
    """An SVG of squares, one for each word down and across. cells: (row, column) -> a share from 0 to 1, and a tip."""
    side, left = (9 if len(words) > 30 else 16), 7 * max(map(len, words), default=0) + 6
    size = side * len(words)
    parts = [f'<rect class="ground" x="{left}" y="0" width="{size}" height="{size}"/>']
    for place, word in enumerate(words):
        y = place * side + side - 2
        parts.append(f'<text x="{left - 4}" y="{y}" text-anchor="end" style="font-size:{side}px">{escape(word)}</text>')
    for (row, column), (share, tip) in cells.items():
        kind, x, y = ("right" if row == column else "wrong"), left + column * side, row * side
        box = f'x="{x}" y="{y}" width="{side}" height="{side}" opacity="{0.25 + 0.75 * share:.2f}"'
        parts.append(f'<rect class="{kind}" {box}><title>{escape(tip)}</title></rect>')
    wide, high = left + size + 2, size + 4
    shape = f'style="width:{wide}px" viewBox="0 0 {wide} {high}"'
    return f'<svg class="grid-of" {shape} role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'
