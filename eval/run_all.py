"""Every data set, every combination of streams, one table: `OUT/results.csv`, a row each, nothing left out.

    python eval/run_all.py [--data data] [--weights weights] [--runs runs] [--datasets …] [--out leaderboard/results]
    torchrun --nproc-per-node G eval/run_all.py …

Benchmarks are scored by `weights/NAME/STREAM`; our small sets fold by fold, by the networks that `eval/crossval.py`
left in `runs/`. Each network scores its clips once; all combinations are fused from the logits, which are kept. What
cannot be scored is a row that says why. Exit code: 0 when all that could be scored was, 1 after a failure, 2 for bad
arguments.
"""

import argparse
import json
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tqdm import tqdm

from dsta.common import UserError, at_least, replace_file
from dsta.common.device import DeviceSettings
from dsta.data import BENCHMARKS, SMALL_SETS, ClipSet, DatasetSpec, dataset
from eval import doctor, protocols, rows
from eval.cache import ScoringEngine, ScoringWork
from eval.plan import Network, Plan, Unscored, find_run
from eval.rehearsal import rehearse
from eval.robustness import DISTURBANCES, Disturbance
from leaderboard.results import (
    OUT,
    RESULTS_FILE,
    STREAMS,
    check_writable,
    hash_lines,
    made_by,
    now,
    read_rows,
    streams_name,
    write_dataset,
    write_robustness,
)

Result = TypeVar("Result")
FAILURES = ("mismatch", "error")


def isolated(step: Callable[[], Result]) -> Result | Unscored:
    """The step's result, or what went wrong in it: one data set's failure is its row, and the others go on."""
    try:
        return step()
    except Unscored as error:
        return error
    except UserError as error:
        return Unscored("error", str(error))
    except Exception as error:  # the one place where anything may come: the traceback is shown, the row says it
        traceback.print_exc()
        return Unscored("error", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


@dataclass(frozen=True)
class Run:
    """One call: where things are, what is asked for, and the engine that scores."""

    args: argparse.Namespace
    engine: ScoringEngine
    command: str

    @cached_property
    def streams(self) -> tuple[str, ...]:
        return tuple(streams_name(self.args.streams).split("+"))

    def provenance(self, data_sha256: str = "") -> dict[str, Any]:
        """Where a row is from that is written now."""
        return {**made_by(self.engine.commit, now()), "data_sha256": data_sha256, "command": self.command}

    def plan(self, spec: DatasetSpec) -> Plan:
        """Finds and checks a data set and its networks. Raises Unscored and UserError."""
        folder = doctor.find_folder(self.args.data, spec)
        if folder is None or not any(folder.iterdir()):
            roots = ", ".join(map(str, self.args.data))
            where = f"{folder} is empty" if folder else f"no folder of that name is in {roots}"
            raise Unscored("no data", f"{spec.name} is not here: {where}.")
        held = self.engine.held(folder)
        findings = examined(held, spec, self.args.cache, self.engine)
        stop = next((finding for finding in findings if finding.level in doctor.STOPS), None)
        if stop:
            raise Unscored(stop.level, stop.text, data_sha256=self.engine.data_sha256(held))
        warnings = [finding.text for finding in findings if finding.level == "warning"]
        run = find_run(self.args.runs, folder.name) if spec.released == "folds" else None
        plan = Plan(spec, held, run, warnings)
        for stream in self.streams:
            why = isolated(partial(plan.find, stream, self.args.weights))
            if why:
                plan.failed[stream] = why
        return plan

    def work(self, plan: Plan, network: Network, disturbance: Disturbance | None) -> ScoringWork:
        return ScoringWork(plan.held.folder, network.folder, network.sha256, plan.positions(network), disturbance)

    @property
    def disturbances(self) -> tuple[Disturbance | None, ...]:
        return (None, *DISTURBANCES) if self.args.robustness else (None,)

    def passes(self, plan: Plan) -> int:
        """Clips that have to go through a network, those in the cache not counted."""
        networks = [network for each in plan.networks.values() for network in each]
        works = [self.work(plan, network, d) for network in networks for d in self.disturbances]
        return sum(len(work.positions) for work in works if not self.engine.cached(work))

    def score(self, plan: Plan, bar: tqdm, disturbance: Disturbance | None, stream: str) -> rows.StreamScores:
        """One stream of a data set, each clip by the network that may score it."""
        held, parts = plan.held, []
        pooled = np.full((len(held), len(held.glosses) or plan.spec.num_classes), np.nan, np.float32)
        for network in plan.networks[stream]:
            work = self.work(plan, network, disturbance)
            bar.set_description(f"{plan.spec.name} {network.name}")
            scored = self.engine.score(work, bar.update)
            glosses = network.config["glosses"]
            columns = [glosses.index(gloss) for gloss in held.glosses] if held.glosses else slice(None)
            pooled[list(work.positions)] = scored.logits[:, columns]
            parts.append(scored)
        if not np.isfinite(pooled).all():
            raise UserError(f"The network of {stream} gives scores that are no numbers: the weights are damaged.")
        return rows.StreamScores(pooled, parts)

    def scores(self, plan: Plan, bar: tqdm, disturbance: Disturbance | None) -> dict[str, rows.StreamScores]:
        """All streams; one that fails is in `plan.failed`."""
        found = {}
        for stream in plan.networks:
            result = isolated(partial(self.score, plan, bar, disturbance, stream))
            if isinstance(result, Unscored):
                plan.failed[stream] = result
            else:
                found[stream] = result
        return found

    def evaluate(self, plan: Plan, bar: tqdm) -> tuple[list[rows.Record], list[rows.Record], list[rows.Record]]:
        """All rows of a data set: results, gloss counts, robustness."""
        disturbed = {d: self.scores(plan, bar, d) for d in self.disturbances}
        logits = {d: {stream: s.logits for stream, s in scores.items()} for d, scores in disturbed.items()}
        provenance = self.provenance(self.engine.data_sha256(plan.held))
        results, glosses, robust = [], [], []
        readings, val = protocols.protocol_clips(plan)
        for reading in readings:
            for streams in protocols.stream_combinations(self.streams):
                scores = {stream: disturbed[None].get(stream) for stream in streams}
                why = next((plan.failed[stream] for stream in streams if stream in plan.failed), None)
                try:
                    if why:
                        raise why
                    for mix in protocols.fusion_rules(plan, streams, reading.protocol, val, logits[None]):
                        judged = protocols.fused_scores(plan, reading, mix, logits[None])
                        results.append(rows.result_row(plan, judged, scores, provenance))
                        glosses += rows.gloss_rows(plan, judged, streams)
                        rows.save_predictions(self.args.cache, results[-1], plan.held, judged)
                        if self.args.robustness:
                            robust += rows.robustness_rows(plan, judged, streams, logits)
                except Unscored as error:
                    origin = provenance | rows.weights_hash(plan, streams)
                    results.append(rows.unscored_row(plan.spec.name, reading.protocol, streams, error, origin))
        return results, glosses, robust

    def write(self, spec: DatasetSpec, plan: Plan | Unscored, bar: tqdm) -> list[rows.Record]:
        """Scores a planned data set and writes its rows, which it returns."""
        outcome = plan if isinstance(plan, Unscored) else isolated(lambda: self.evaluate(plan, bar))
        if isinstance(outcome, Unscored):
            origin = self.provenance(outcome.data_sha256)
            row = rows.unscored_row(spec.name, spec.released, self.streams, outcome, origin)
            outcome = [row], [], []
        results, glosses, robust = outcome
        write_dataset(self.args.out, results, glosses)
        if robust:
            write_robustness(self.args.out, robust)
        return results


def examined(held: ClipSet, spec: DatasetSpec, cache: Path, engine: ScoringEngine) -> list[doctor.Finding]:
    """The doctor's findings, kept until the data changes."""
    train = [path for path in held.folder.glob("train_*") if path.is_file()]
    stamps = {path.name: f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in train}
    code = hash_lines({"doctor": Path(doctor.__file__).read_text(encoding="utf-8")})
    key = hash_lines({**stamps, "held": engine.data_sha256(held), "spec": repr(spec), "code": code})
    path = cache / "doctor" / f"{spec.name}-{key[:16]}.json"
    if path.exists():
        return [doctor.Finding(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    findings = doctor.examine(held, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps([vars(finding) for finding in findings]).encode())
    return findings


def summary(results: Sequence[rows.Record]) -> str:
    """One line on a data set, for the terminal: its best-defined row, or why there is none."""
    done = [row for row in results if row["status"] == "ok"]
    bad = next((row for row in results if row["status"] != "ok"), None)
    text = ""
    if done:
        row = done[-1]
        shares = "top-1 {:.1%} [{:.1%}, {:.1%}], per class {:.1%}, n = {}".format(
            *(row[c] for c in ("top1_instance", "top1_instance_lo", "top1_instance_hi", "top1_class", "n"))
        )
        text = f"{len(done)} rows; {row['streams']}, {row['fusion']}, {row['protocol']}: {shares}"
    return "; ".join(filter(None, [text, f"{bad['status']}: {bad['reason']}" if bad else ""]))


def run_all(run: Run, specs: Sequence[DatasetSpec]) -> int:
    """Scores the data sets one after the other; returns the exit code."""
    plans = {spec.name: isolated(partial(run.plan, spec)) for spec in specs}
    total = sum(run.passes(plan) for plan in plans.values() if isinstance(plan, Plan))
    run.engine.expect(total)
    statuses = set()
    with tqdm(total=total, unit="clip", file=sys.stderr, smoothing=0.05, mininterval=1) as bar:
        for spec in specs:
            results = run.write(spec, plans.pop(spec.name), bar)
            statuses |= {row["status"] for row in results}
            tqdm.write(f"{spec.name}: {summary(results)}")
    return int(bool(statuses & set(FAILURES)))


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python eval/run_all.py", description=__doc__.splitlines()[0])
    add = result.add_argument
    add("--data", nargs="+", type=Path, default=[Path("data")], metavar="DIR", help="folders that hold the data sets")
    add("--weights", type=Path, default=Path("weights"), metavar="DIR", help="holds NAME/STREAM of the benchmarks")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="what eval/crossval.py made")
    add("--datasets", nargs="+", metavar="NAME", help="by default all")
    add("--streams", nargs="+", default=list(STREAMS), metavar="STREAM", help="by default all four")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    add("--dtype", choices=["auto", "fp32", "bf16"], default="auto", help="auto: fp32 on a CPU, bf16 on a GPU with it")
    add("--workers", type=at_least(0), metavar="N", help="processes; by default one a core")
    add("--out", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    add("--cache", type=Path, default=Path(".cache/eval"), metavar="DIR", help="logits and predictions of each clip")
    add("--robustness", action="store_true", help="score disturbed clips too, into robustness.csv")
    rehearsal = "instead, time made-up arrays of the benchmarks' test size (or at most N clips), into rehearsal.csv"
    add("--rehearsal", nargs="?", type=at_least(1), const=0, metavar="N", help=rehearsal)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_args(arguments)
    command = shlex.join(["python", "eval/run_all.py", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        names = args.datasets or [*BENCHMARKS, *SMALL_SETS]
        specs = [dataset(name) for name in dict.fromkeys(names)]
        engine = ScoringEngine(DeviceSettings.choose(args.device, args.dtype, args.workers), args.cache)
        run = Run(args, engine, command)
        run.streams  # noqa: B018 - a wrong name is told before anything is done
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if engine.rank:
        engine.serve()
        return 0
    try:
        check_writable(args.out)
        check_writable(args.cache, "--cache")
        read_rows(args.out / RESULTS_FILE)  # a damaged table is told before hours of work
        if args.rehearsal is not None:
            benchmarks = [spec for spec in specs if spec.name in BENCHMARKS]
            origin = run.provenance()
            tqdm.write(rehearse(benchmarks, run.streams, engine.settings, args.out, origin, args.rehearsal))
            return 0
        return run_all(run, specs)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
