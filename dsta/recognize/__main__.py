"""The command line: ranked glosses of each file.

python -m dsta.recognize FILE… [--weights DIR] [--top-k 5] [--json]
python -m dsta.recognize FILE --spans [--vtt FILE.vtt] [--eaf FILE.eaf]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dsta.common import UserError, exit_code, replace_file
from dsta.common.lasting import lasting

with lasting():
    from dsta.checkpoint import DEFAULT_WEIGHTS
    from dsta.keypoints import POSE_SUFFIXES
    from dsta.recognize.recognizer import Recognizer
    from dsta.recognize.told import as_dict, as_table, spans_as_dict, spans_as_table
    from dsta.spans import as_eaf, as_vtt, check_output


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 when the weights or any file could not be used."""
    parser = argparse.ArgumentParser(prog="python -m dsta.recognize", description="Recognise the sign in each file.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a video, or a skeleton (.npz, .pose)")
    parser.add_argument(
        "--weights", default=DEFAULT_WEIGHTS, metavar="DIR", help="default: the American signs that come along"
    )
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="glosses to print (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.add_argument("--spans", action="store_true", help="several signs in a file: each alone, and where it is")
    parser.add_argument("--vtt", metavar="FILE.vtt", help="write the spans as subtitles (WebVTT); implies --spans")
    parser.add_argument("--eaf", metavar="FILE.eaf", help="write the spans as annotations for ELAN; implies --spans")
    args = parser.parse_args(arguments)
    if args.top_k < 1:
        parser.error("--top-k must be at least 1")
    return exit_code(lambda: _answer(args))


def _answer(args: argparse.Namespace) -> int:
    for name, ending in ((args.vtt, ".vtt"), (args.eaf, ".eaf")):
        check_output(name, ending, len(args.files))
    recognizer, code = Recognizer.load(args.weights), 0
    for file in args.files:
        try:
            if args.spans or args.vtt or args.eaf:
                _answer_spans(recognizer, file, args)
                continue
            result = recognizer.recognize(file)
        except UserError as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        text = json.dumps(as_dict(file, result, args.top_k)) if args.json else as_table(file, result, args.top_k)
        print(text, flush=True)
    return code


def _answer_spans(recognizer: Recognizer, file: str, args: argparse.Namespace) -> None:
    """Prints the spans of a file, and writes them where that is asked for."""
    said = recognizer.recognize_spans(file)
    labelled = [(each.span, each.gloss) for each in said]
    if args.vtt:
        replace_file(Path(args.vtt), as_vtt(labelled).encode())
    if args.eaf:
        media = None if Path(file).suffix.lower() in POSE_SUFFIXES else file
        replace_file(Path(args.eaf), as_eaf(labelled, media, Path(args.eaf).parent).encode())
    print(json.dumps(spans_as_dict(file, said, args.top_k)) if args.json else spans_as_table(file, said), flush=True)


if __name__ == "__main__":
    sys.exit(main())
