"""The 27 joints: names, parents, mirror, graph. The only place where joints have numbers.

Names follow COCO-WholeBody; left is the signer's left. Source: arXiv 2403.12519, section 4.1.
"""

import numpy as np

_FINGERS = ("index", "middle", "ring", "little")
_HAND = ("hand_root", "thumb_tip", *(f"{finger}_{end}" for finger in _FINGERS for end in ("base", "tip")))
_BODY = tuple(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist") for side in ("left", "right"))

JOINTS: tuple[str, ...] = (
    "nose",
    *_BODY,
    *(f"left_{part}" for part in _HAND),
    *(f"right_{part}" for part in _HAND),
)
"""The joints' names in the order of every array's joint axis."""

NUM_JOINTS = len(JOINTS)
INDEX: dict[str, int] = {name: i for i, name in enumerate(JOINTS)}

CANVAS = 512
"""Longest side, in pixels, of the canvas on which clips of these joints are given."""

BODY = [INDEX[name] for name in ("nose", *_BODY)]
LEFT_HAND = [INDEX[f"left_{part}"] for part in _HAND]
RIGHT_HAND = [INDEX[f"right_{part}"] for part in _HAND]


def _parent_name(name: str) -> str:
    if name == "nose":
        return name
    side, part = name.split("_", 1)
    if part == "shoulder":
        return "nose"
    chain = {"elbow": "shoulder", "wrist": "elbow", "hand_root": "wrist"}
    finger, _, end = part.partition("_")
    if part in chain:
        return f"{side}_{chain[part]}"
    if end == "tip" and finger != "thumb":
        return f"{side}_{finger}_base"
    return f"{side}_hand_root"


def _mirror_name(name: str) -> str:
    side, _, part = name.partition("_")
    return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, name)


PARENTS = np.array([INDEX[_parent_name(name)] for name in JOINTS])
"""(27,) index of each joint's parent; the nose is its own."""

MIRROR = np.array([INDEX[_mirror_name(name)] for name in JOINTS])
"""(27,) permutation that swaps left and right."""

BONES: tuple[tuple[int, int], ...] = tuple((int(p), j) for j, p in enumerate(PARENTS) if p != j)
"""(parent, child) of the 26 bones; a parent comes before its children."""


def adjacency() -> np.ndarray:
    """(27, 27) float32 graph A = I + In + Out: ones on the diagonal and between each joint and its parent."""
    graph = np.eye(NUM_JOINTS, dtype=np.float32)
    for parent, child in BONES:
        graph[parent, child] = graph[child, parent] = 1
    return graph
