"""The command line of weights: import from upstream, push to the Hub, fetch from it.

python -m dsta.checkpoint import FILE.pt --dataset WLASL2000 --stream joint --out weights/WLASL2000/joint
python -m dsta.checkpoint push weights/asl118 user/asl118
python -m dsta.checkpoint fetch user/asl118
"""

import argparse
import sys
from collections.abc import Sequence

from dsta import checkpoint
from dsta.common import UserError, exit_code
from dsta.streams import Stream


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dsta.checkpoint", description="Import and exchange weights.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    into = commands.add_parser("import", help="a checkpoint of the reference's code becomes a weights folder")
    into.add_argument("file", metavar="FILE", help="torch's file (.pt), .npz or .safetensors, with upstream's names")
    into.add_argument("--dataset", required=True, metavar="NAME", help="the benchmark it is for, such as WLASL2000")
    into.add_argument("--stream", choices=list(Stream), help="the stream it was trained on (dsta.identify finds it)")
    into.add_argument("--bone", choices=("chained", "direct"), default="chained", help="default: upstream's, chained")
    into.add_argument("--order", metavar="FILE.json", help="the order of its classes, as dsta.identify wrote it")
    into.add_argument("--out", required=True, metavar="DIR", help="the folder to write")
    into.set_defaults(work=_import)
    send = commands.add_parser("push", help="send a weights folder to the Hugging Face Hub")
    send.add_argument("folder", metavar="DIR", help="of one stream, or an ensemble")
    send.add_argument("repo", metavar="USER/NAME")
    send.add_argument("--private", action="store_true", default=None, help="if the repository is new, make it private")
    send.set_defaults(work=lambda args: print(checkpoint.push(args.folder, args.repo, args.private)))
    get = commands.add_parser("fetch", help="download weights from the Hub and print their folder")
    get.add_argument("repo", metavar="USER/NAME")
    get.add_argument("--revision", metavar="COMMIT", help="a commit, branch or tag; default: the newest")
    get.set_defaults(work=lambda args: print(checkpoint.fetch(args.repo, revision=args.revision)))
    args = parser.parse_args(arguments)
    return exit_code(lambda: args.work(args))


def _import(args: argparse.Namespace) -> None:
    if not args.stream:
        raise UserError(
            f"Which stream {args.file} is of is not written in it: give --stream {'|'.join(Stream)}, or find out on "
            f"labelled clips with: python -m dsta.identify {args.file} --data data/{args.dataset}"
        )
    made = checkpoint.import_upstream(args.file, args.dataset, args.stream, args.out, args.bone, args.order)
    order = f", its classes reordered as {args.order} says" if args.order else ""
    print(f"{args.out}: {made.stream}, {len(made.glosses)} classes; its logits are those of {args.file}{order}.")
    guessed = made.provenance.get("class_order", {}).get("guessed")
    if guessed:
        print(
            f"{args.order} does not know which classes {len(guessed)} glosses are, such as {made.glosses[guessed[0]]}: "
            "there was no clip of them, and what stands in their places is a guess."
        )
    if "known" in made.provenance:
        print(made.provenance["known"])


if __name__ == "__main__":
    sys.exit(main())
