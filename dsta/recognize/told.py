"""How the command line tells what was recognised: as a table, or as an object of JSON."""

from collections.abc import Sequence
from typing import Any

from dsta.common import shown
from dsta.recognize.recognition import Prediction, Recognition, SignedSpan


def as_dict(file: str, result: Recognition, top_k: int) -> dict[str, Any]:
    """The object that `--json` prints for a file."""

    def rows(predictions: tuple[Prediction, ...]) -> list[dict[str, Any]]:
        return [{"gloss": p.gloss, "score": round(p.score, 6)} for p in predictions[:top_k]]

    return {
        "file": file,
        "predictions": rows(result.predictions),
        "streams": {stream: rows(predictions) for stream, predictions in result.streams.items()},
        "quality": result.quality,
        "timings": {step: round(seconds, 3) for step, seconds in result.timings.items()},
    }


def as_table(file: str, result: Recognition, top_k: int) -> str:
    """The lines that the command line prints for a file."""
    bar, width = shown("█", "#"), max(len(p.gloss) for p in result.predictions[:top_k])
    lines = [file]
    for rank, p in enumerate(result.predictions[:top_k], 1):
        lines.append(f"  {rank:2}  {p.gloss:<{width}}  {p.score:6.1%}  {bar * round(p.score * 30)}")
    if meant := result.quality["certainty"]:
        lines.append(f"  {meant['meaning']}")
    lines += [f"  {'not sure: ' if i == 0 else ''}{note}" for i, note in enumerate(result.quality["notes"])]
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in result.timings.items())
    lines.append(f"  {result.quality['frames']} frames, {result.quality['seconds']} s; {steps}")
    return "\n".join(lines)


def spans_as_dict(file: str, said: Sequence[SignedSpan], top_k: int) -> dict[str, Any]:
    """The object that `--spans --json` prints for a file."""
    results = [as_dict(file, each.recognition, top_k) for each in said]
    spans = [each.span._asdict() | result for each, result in zip(said, results, strict=True)]
    return {"file": file, "spans": [{key: of[key] for key in of if key != "file"} for of in spans]}


def spans_as_table(file: str, said: Sequence[SignedSpan]) -> str:
    """The lines that `--spans` prints for a file."""
    if not said:
        return f"{file}\n  no sign: the hands rest all the time"
    lines, width = [file], max(len(each.recognition.predictions[0].gloss) for each in said)
    for each in said:
        (start, end), best, quality = each.span, each.recognition.predictions[0], each.recognition.quality
        why = "" if quality["confident"] else f"  not sure: {' '.join(quality['notes'])}"
        lines.append(f"  {start:6.2f} - {end:6.2f} s  {best.gloss:<{width}}  {best.score:6.1%}{why}")
    return "\n".join(lines)
