"""Whether joints can be a signer's: somebody is there, in pixels of the picture, each hand at its own wrist."""

import numpy as np

from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND

_SMALLEST = 0.02  # of the picture's longest side: nobody so small has been found in a picture
_FEWEST_PIXELS = 6.0  # that a signer spans in a picture of any size, unless that is no larger itself
_AWAY = 0.5  # of the picture's longest side beyond its edge: no joint is guessed to be there
_APART = 0.5  # shoulder widths between the wrists, from which on it is plain at which of them a hand is
_FEWEST = 3  # hands by which it is judged


def misfit(keypoints: np.ndarray, width: float, height: float) -> str:
    """Why joints (T, 27, 3), x and y in pixels and score, cannot be a person's in a picture of this size; empty if they
    can. It is a sentence without its subject, the file or clip."""
    found = keypoints[..., 2] > 0
    if not found.any():
        return "shows nobody: no joint in it has a score above 0; look for the joints again."
    size, longest, spans = f"{width:g}×{height:g}", max(width, height), _spans(keypoints, found)
    if len(spans):
        span = float(np.median(spans))
        if span < _SMALLEST * longest or span < _FEWEST_PIXELS < longest:
            return (
                f"holds no pixels of a {size} picture: its joints would span {span:.2g} of them; multiply "
                "fractions by the picture's size, and leave out any normalisation."
            )
    place, margin = keypoints[found][:, :2], _AWAY * longest
    away = ((place < -margin) | (place > np.array([width, height]) + margin)).any(1)
    if away.mean() > 0.5:
        return (
            f"holds no pixels of a {size} picture: {away.mean():.0%} of its joints would lie far outside; "
            "give the size of the picture in which they were found."
        )
    return ""


def _spans(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(F,) the longer side of the box around the joints, of each frame in which several were seen."""
    several = found.sum(1) > 1
    place = np.where(found[several][..., None], keypoints[several][..., :2], np.nan)
    return (np.nanmax(place, 1) - np.nanmin(place, 1)).max(1) if several.any() else np.zeros(0)


def hands_exchanged(clip: np.ndarray) -> bool:
    """Whether the hands of a clip (T, 27, 3) mostly lie at each other's wrist: left and right were exchanged."""
    found, place = clip[..., 2] > 0, clip[..., :2].astype(np.float64)
    left, right = INDEX["left_wrist"], INDEX["right_wrist"]
    shoulders = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
    both = found[:, shoulders].all(1)
    if not both.any():
        return False
    width = np.median(np.hypot(*(place[both, shoulders[0]] - place[both, shoulders[1]]).T))
    plain = found[:, [left, right]].all(1) & (np.hypot(*(place[:, left] - place[:, right]).T) > _APART * width)
    at_other = []
    for (root, *_), own, other in ((LEFT_HAND, left, right), (RIGHT_HAND, right, left)):
        here = plain & found[:, root]
        to_own, to_other = (np.hypot(*(place[here, root] - place[here, wrist]).T) for wrist in (own, other))
        at_other.append(to_other < to_own / 2)
    judged = np.concatenate(at_other)
    return len(judged) >= _FEWEST and bool(judged.mean() > 0.5)
