"""The 27 joints against the tables of the specification, written out by hand."""

import numpy as np
import pytest

from dsta.skeleton import BODY, BONES, INDEX, JOINTS, LEFT_HAND, MIRROR, NUM_JOINTS, PARENTS, RIGHT_HAND, adjacency


def test_joints_have_the_order_of_coco_wholebody():
    fingers = [f"{finger}_{end}" for finger in ("index", "middle", "ring", "little") for end in ("base", "tip")]
    hand = ["hand_root", "thumb_tip", *fingers]
    body = ["nose", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"]
    assert list(JOINTS) == body + [f"left_{part}" for part in hand] + [f"right_{part}" for part in hand]
    assert NUM_JOINTS == 27 and INDEX["right_little_tip"] == 26
    assert [*BODY, *LEFT_HAND, *RIGHT_HAND] == list(range(27))


def test_parents_are_those_of_the_specification():
    parents = [0, 0, 0, 1, 2, 3, 4]
    for wrist, root in ((5, 7), (6, 17)):
        parents += [wrist, root, root, root + 2, root, root + 4, root, root + 6, root, root + 8]
    assert PARENTS.tolist() == parents


def test_mirror_is_the_permutation_of_the_specification():
    assert MIRROR.tolist() == [0, 2, 1, 4, 3, 6, 5, *range(17, 27), *range(7, 17)]
    assert MIRROR[MIRROR].tolist() == list(range(27))


def test_mirror_keeps_the_skeleton():
    assert {(int(MIRROR[p]), int(MIRROR[c])) for p, c in BONES} == set(BONES)


def test_bones_list_each_joint_once_after_its_parent():
    assert sorted(child for _, child in BONES) == list(range(1, 27))
    reached = {0}
    for parent, child in BONES:
        assert parent in reached
        reached.add(child)


def test_graph_has_79_ones():
    graph = adjacency()
    assert graph.dtype == np.float32 and graph.shape == (27, 27)
    assert graph.sum() == 79 and set(np.unique(graph)) == {0, 1}
    assert (graph == graph.T).all() and (np.diag(graph) == 1).all()


@pytest.mark.parametrize(("joint", "neighbours"), [(0, {0, 1, 2}), (7, {5, 7, 8, 9, 11, 13, 15}), (10, {9, 10})])
def test_graph_neighbours(joint, neighbours):
    assert set(np.flatnonzero(adjacency()[joint])) == neighbours
