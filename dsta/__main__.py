"""The command `dsta`: the project's command lines under one name.

dsta recognize sign.mp4          # as python -m dsta.recognize sign.mp4
dsta page                        # the page, at http://127.0.0.1:7860
"""

import argparse
import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from dsta.common import UserError, exit_code
from dsta.common.lasting import lasting

COMMANDS = {
    "recognize": ("dsta.recognize.__main__", "recognise the sign in each file"),
    "teach": ("dsta.teach.__main__", "teach signs of your own by a few clips of each"),
    "prepare": ("dsta.prepare.__main__", "make a dataset out of a folder of videos"),
    "train": ("dsta.train.__main__", "train the network of one stream"),
    "checkpoint": ("dsta.checkpoint.__main__", "import, push and fetch weights"),
    "identify": ("dsta.identify", "find out which stream an unlabelled checkpoint is of"),
    "export": ("dsta.export.__main__", "write weights as one ONNX file"),
    "page": ("", "start the page"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code of the command."""
    parser = argparse.ArgumentParser(prog="dsta", description="Isolated sign recognition from skeletons.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, purpose) in COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=not module)  # the others have their own parsers
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = parser.parse_args(given[:1]).command
    if command == "page":
        commands.choices["page"].parse_args(given[1:])
        return exit_code(start_page)
    with lasting():
        chosen = import_module(COMMANDS[command][0])
    return chosen.main(given[1:])


def start_page() -> None:
    """Runs `app.py`, which lies in this package where it is installed, and beside it in a checkout."""
    here = Path(__file__).resolve().parent
    try:
        import_module("gradio")
    except ModuleNotFoundError as error:
        raise UserError(
            "The page needs gradio, which is not installed: install the project with its extra page, "
            "pip install '.[page]'."
        ) from error
    app = next(path for path in (here / "page" / "app.py", here.parent / "app.py") if path.exists())
    runpy.run_path(str(app), run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
