"""Tables and JSON as spreadsheets, editors and pandas leave them: read, or one sentence."""

import pytest

from dsta.common import UserError, lookalikes_note, number_in, read_csv, read_json
from dsta.common.names import lookalikes

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def path(tmp_path):
    def write(content):
        (tmp_path / "a.txt").write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / "a.txt"

    return write


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("\ufeffa,b\r\n1,2\r\n", [(2, "1", "2")]),
        ("a,b,more\n1,2,3\n", [(2, "1", "2")]),
        (" a , b \n 1 ,2 , \n", [(2, "1", "2")]),
        ("a,b\n\n1,2\n,\n\n3,4", [(3, "1", "2"), (6, "3", "4")]),
        ('a,b\n"one\ntwo",2\n3,4\n', [(2, "one\ntwo", "2"), (4, "3", "4")]),
        (f"a,b\n{DECOMPOSED},null\n", [(2, COMPOSED, "null")]),
        ("a,b\r1,2\r", [(2, "1", "2")]),
        ("\n\na,b\n1,2\n", [(4, "1", "2")]),
        ("a,b\n", []),
    ],
)
def test_a_table_is_read_with_its_lines_as_an_editor_counts_them(path, text, rows):
    assert [(line, cells["a"], cells["b"]) for line, cells in read_csv(path(text), ("a", "b"))] == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a;b\n1;2\n", "separated by semicolons"),
        ("a\tb\n1\t2\n", "separated by tabs"),
        ("", "lacks the column a and b:"),
        ("a,c\n", r"lacks the column b \(its first line: a, c\)"),
        ("a,b,a\n1,2,3\n", "the column a twice"),
        ("a,b\n\n1\n", "1 cells in line 3 for 2 columns: the line is cut off"),
        ("a,b\n1,2,three, four\n", "4 cells in line 2 for 2 columns: the line has a comma too many"),
        ('a,b\n1,2\n"3,4\n5,6\n', r"from line 3 on \(.* is a quote not closed"),
        ("a,b\n1,2\n".encode("utf-16"), "not in UTF-8"),
        (b"a,b\n\xe9,2\n", "not in UTF-8"),
    ],
)
def test_what_is_no_such_table_is_a_sentence_with_a_way_out(path, content, words):
    with pytest.raises(UserError, match=words) as caught:
        read_csv(path(content), ("a", "b"), "save it anew")
    assert str(caught.value).endswith(": save it anew.") and "\n" not in str(caught.value)


def test_a_cell_that_is_no_number_is_told():
    assert (number_in("3", int), number_in("2.5")) == (3, 2.5)
    for text, kind in [("", int), ("", float), ("nan", float), ("inf", float), ("2.5", int), ("1,5", float)]:
        with pytest.raises(ValueError, match="which is no "):
            number_in(text, kind)


def test_json_is_read_with_a_mark_and_composed(path):
    assert read_json(path(f'\ufeff{{"{DECOMPOSED}": 1}}')) == {COMPOSED: 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]", "must hold an object"),
        ('{"fps": NaN}', "fps is NaN"),
        ('{"fps": -Infinity}', "fps is -Infinity"),
        ("[" * 100_000, "is not JSON"),
        ("", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
def test_what_is_no_such_json_is_a_sentence(path, content, words):
    with pytest.raises(UserError, match=words):
        read_json(path(content))


def test_files_that_are_not_there_or_are_folders_are_told(tmp_path):
    for read in (lambda path: read_csv(path, ("a",)), read_json):
        with pytest.raises(UserError, match="none is missing"):
            read(tmp_path / "none")
        with pytest.raises(UserError, match="cannot be read"):
            read(tmp_path)


def test_names_that_differ_in_case_or_spaces_only_are_found():
    assert lookalikes(["b", "Hello", "hello", "thank you", "thank  you", "hello", "stra\u00dfe", "STRASSE"]) == [
        ["Hello", "hello"],
        ["STRASSE", "stra\u00dfe"],
        ["thank  you", "thank you"],
    ]
    assert "'Hello', 'hello'" in lookalikes_note(["Hello", "hello"])
    assert lookalikes_note(["a", "b"]) == ""
