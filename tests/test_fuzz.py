"""A small sample of what `python tests/fuzz.py` does."""

import pytest
from fuzz import fuzz


@pytest.mark.slow
def test_damaged_files_come_to_an_answer_or_a_sentence():
    outcomes = fuzz(60, seed=1)
    assert sum(outcomes.values()) == 60 and set(outcomes) <= {"answer", "sentence", "memory"}
