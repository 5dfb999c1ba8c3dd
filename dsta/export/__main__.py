"""The command line of export.

python -m dsta.export NAME --onnx FILE.onnx
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dsta.common import exit_code
from dsta.common.files import WEIGHTS
from dsta.export.file import export


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dsta.export", description="Write weights as one ONNX file.")
    parser.add_argument("weights", metavar="NAME", help="a weights folder, or the name of one in weights/")
    parser.add_argument("--onnx", required=True, type=Path, metavar="FILE", help="where the file goes")
    args = parser.parse_args(arguments)

    def work() -> None:
        folder = Path(args.weights) if Path(args.weights).is_dir() else WEIGHTS / args.weights
        made = export(folder, args.onnx)
        print(
            f"{args.onnx}: {' + '.join(made['streams'])}, {made['classes']} glosses, {made['bytes'] / 1e6:.1f} MB, "
            f"opset {made['opset']}; largest difference from these weights {made['difference']:.1e}"
        )

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
