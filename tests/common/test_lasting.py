"""Imports that the garbage collector leaves alone."""

import gc

import pytest

from dsta.common.lasting import lasting


@pytest.fixture(autouse=True)
def as_before():
    yield
    gc.enable()
    gc.freeze()  # as the tests begin


def test_what_is_made_within_is_never_looked_through():
    gc.unfreeze()
    with lasting():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() > 1000
    assert not {id(each) for each in gc.get_objects()} & {id(each) for each in made}


@pytest.mark.parametrize("fails", [False, True])
def test_a_collector_that_was_off_stays_off_and_one_that_was_on_comes_back(fails):
    for on in (True, False):
        (gc.enable if on else gc.disable)()
        with pytest.raises(ImportError) if fails else lasting(), lasting():
            if fails:
                raise ImportError
        assert gc.isenabled() is on
