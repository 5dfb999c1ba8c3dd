"""Mistakes of the person at the keyboard: one sentence, exit code 2."""

import errno
import io
import os
import subprocess
import sys

import pytest

from dsta import identify
from dsta.common import UserError, at_least, exit_code, shown
from dsta.common.device import chosen_device


@pytest.mark.parametrize(
    ("asked", "gpus", "device"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_by_its_name(asked, gpus, device):
    assert chosen_device(asked, gpus) == device


@pytest.mark.parametrize(
    ("asked", "gpus", "sentence"),
    [
        ("foo", 1, "--device foo is not known"),
        ("cpux", 1, "not known"),
        ("cuda:", 1, "not known"),
        ("cuda:x", 1, "not known"),
        ("meta", 1, "not known"),
        ("", 1, "not known"),
        ("cuda", 0, "No GPU was found"),
        ("cuda:2", 2, "the last one here is cuda:1"),
    ],
)
def test_a_device_that_is_none(asked, gpus, sentence):
    with pytest.raises(UserError, match=sentence):
        chosen_device(asked, gpus)


def test_identify_tells_a_wrong_device_before_it_reads_anything(tmp_path, capsys):
    assert identify.main([str(tmp_path / "none.pt"), "--data", str(tmp_path), "--device", "foo"]) == 2
    assert capsys.readouterr().err.startswith("--device foo is not known")


class Terminal(io.TextIOWrapper):
    """A stdout of an encoding, as strict as a terminal's."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding, errors="strict", write_through=True)


@pytest.mark.parametrize(
    ("encoding", "text", "said"),
    [
        ("utf-8", "\udce9cole █", "?cole █"),
        ("latin-1", "é …", "é ?"),
        ("ascii", "é", "?"),
    ],
)
def test_what_a_terminal_cannot_show_is_shown_with_question_marks(monkeypatch, encoding, text, said):
    monkeypatch.setattr("sys.stdout", Terminal(encoding))
    assert exit_code(lambda: print(text)) == 0
    assert sys.stdout.buffer.getvalue().decode(encoding) == f"{said}\n"
    assert shown("█", "#") == ("█" if encoding == "utf-8" else "#")


def test_the_code_of_work_is_the_commands_and_a_mistake_is_2(capsys):
    def mistake():
        raise UserError("Give another.")

    assert (exit_code(lambda: 1), exit_code(lambda: None), exit_code(mistake)) == (1, 0, 2)
    assert capsys.readouterr().err == "Give another.\n"


@pytest.mark.parametrize(
    "command",
    [
        "import sys\nfrom dsta.common import exit_code\n"
        "def work():\n    for i in range(100_000): print(i)\nsys.exit(exit_code(work))",
        "import sys\nfrom dsta.common import exit_code\nsys.exit(exit_code(lambda: print('a')))",
    ],
)
def test_where_nobody_reads_on_the_end_is_quiet(command):
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.close()
        assert (run.stderr.read(), run.wait()) == (b"", 141)


@pytest.mark.parametrize(("number", "told"), [(errno.ENOSPC, True), (errno.EROFS, True), (errno.ENOENT, False)])
def test_a_disk_that_cannot_be_written_to_is_a_sentence(capsys, number, told):
    def work():
        raise OSError(number, os.strerror(number), "out/a.json")

    if not told:
        with pytest.raises(OSError, match="out"):
            exit_code(work)
        return
    assert exit_code(work) == 2
    assert capsys.readouterr().err.startswith(f"out/a.json cannot be written ({os.strerror(number)}): make room")


def test_a_pipe_that_breaks_elsewhere_is_a_bug(capsys):
    def work():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        exit_code(work)


def test_a_number_below_the_least_is_refused():
    assert at_least(1)("3") == 3
    for text in ("0", "-5", "two", ""):
        with pytest.raises(Exception, match="not a whole number, 1 or above"):
            at_least(1)(text)
