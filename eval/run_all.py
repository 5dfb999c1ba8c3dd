"""Every data set, every combination of streams, one table: `OUT/results.csv`, a row each, nothing left out.

    python eval/run_all.py [--data data] [--weights weights] [--runs runs] [--datasets …] [--out leaderboard/results]
    torchrun --nproc-per-node G eval/run_all.py …

Benchmarks are scored by `weights/NAME/STREAM`; our small sets fold by fold, by the networks that `eval/crossval.py`
left in `runs/`. Each network scores its clips once; all combinations are fused from the logits, which are kept. What
cannot be scored is a row that says why. Exit code: 0 when all that could be scored was, 1 after a failure, 2 for bad
arguments.
"""

import argparse
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tqdm import tqdm

from dsta.common import UserError, at_least, exit_code
from dsta.common.device import DeviceSettings
from dsta.data import BENCHMARKS, SMALL_SETS, DatasetSpec
from eval import doctor, rows
from eval.cache import ScoringWork
from eval.plan import DatasetPlan, Network, Unscored, find_run
from eval.protocols import fused_or_reason, protocol_clips, stream_combinations
from eval.recompute import keep_scores
from eval.robustness import DISTURBANCES, Disturbance
from eval.scoring import ScoringEngine
from eval.speed import rehearse
from leaderboard import results
from leaderboard.results import OUT, RESULTS_FILE, STREAMS, check_writable, streams_name

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
    streams: tuple[str, ...]
    engine: ScoringEngine
    command: str

    @property
    def disturbances(self) -> tuple[Disturbance | None, ...]:
        return (None, *DISTURBANCES) if self.args.robustness else (None,)

    def provenance(self, data_sha256: str = "") -> dict[str, Any]:
        """Where a row is from that is written now."""
        return {
            **results.made_by(self.engine.commit, results.now()),
            "data_sha256": data_sha256,
            "command": self.command,
        }

    def plan(self, spec: DatasetSpec) -> DatasetPlan:
        """Finds and checks a data set and its networks. Raises Unscored and UserError."""
        folder = doctor.find_folder(self.args.data, spec)
        if folder is None or not any(folder.iterdir()):
            roots = ", ".join(map(str, self.args.data))
            where = f"{folder} is empty" if folder else f"no folder of that name is in {roots}"
            raise Unscored("no data", f"{spec.name} is not here: {where}.")
        clips = self.engine.clips(folder)
        findings = doctor.examine(clips, spec)
        for finding in findings:
            if finding.level in doctor.STOPS:
                raise Unscored(finding.level, finding.text, data_sha256=self.engine.cache.data_sha256(clips))
        warnings = [finding.text for finding in findings if finding.level == "warning"]
        run = find_run(self.args.runs, folder.name) if spec.released == "folds" else None
        plan = DatasetPlan(spec, clips, run, warnings)
        for stream in self.streams:
            reason = isolated(partial(plan.add_networks, stream, self.args.weights))
            if reason:
                plan.failed[stream] = reason
        return plan

    def work(self, plan: DatasetPlan, network: Network, disturbance: Disturbance | None) -> ScoringWork:
        return ScoringWork(plan.clips.folder, network.folder, network.sha256, plan.positions(network), disturbance)

    def passes(self, plan: DatasetPlan) -> int:
        """Clips that have to go through a network, those in the cache not counted."""
        networks = [network for each in plan.networks.values() for network in each]
        works = [self.work(plan, network, d) for network in networks for d in self.disturbances]
        return sum(len(work.positions) for work in works if not self.engine.cached(work))

    def score(self, plan: DatasetPlan, bar: tqdm, disturbance: Disturbance | None, stream: str) -> rows.StreamScores:
        """One stream of a data set, each clip by the network that may score it."""
        clips, parts = plan.clips, []
        pooled = np.full((len(clips), len(clips.glosses) or plan.spec.num_classes), np.nan, np.float32)
        for network in plan.networks[stream]:
            work = self.work(plan, network, disturbance)
            bar.set_description(f"{plan.spec.name} {network.name}")
            scored = self.engine.score(work, bar.update)
            glosses = network.config["glosses"]
            columns = [glosses.index(gloss) for gloss in clips.glosses] if clips.glosses else slice(None)
            pooled[list(work.positions)] = scored.logits[:, columns]
            parts.append(scored)
        if not np.isfinite(pooled).all():
            raise UserError(f"The network of {stream} gives scores that are no numbers: the weights are damaged.")
        return rows.StreamScores(pooled, parts)

    def scores(self, plan: DatasetPlan, bar: tqdm, disturbance: Disturbance | None) -> dict[str, rows.StreamScores]:
        """All streams; one that fails is in `plan.failed`."""
        found = {}
        for stream in plan.networks:
            result = isolated(partial(self.score, plan, bar, disturbance, stream))
            if isinstance(result, Unscored):
                plan.failed[stream] = result
            else:
                found[stream] = result
        return found

    def evaluate(self, plan: DatasetPlan, bar: tqdm) -> rows.DatasetRows:
        """All rows of a data set."""
        scores = {disturbance: self.scores(plan, bar, disturbance) for disturbance in self.disturbances}
        logits = {disturbance: {stream: s.logits for stream, s in each.items()} for disturbance, each in scores.items()}
        provenance = self.provenance(self.engine.cache.data_sha256(plan.clips))
        found = rows.DatasetRows([], [], [])
        protocols, val = protocol_clips(plan)
        keep_scores(self.args.out, plan, logits[None], protocols, val)
        for protocol, streams in product(protocols, stream_combinations(self.streams)):
            for fused in fused_or_reason(plan, streams, protocol, val, logits[None]):
                if isinstance(fused, Unscored):
                    origin = provenance | rows.weights_hash(plan, streams)
                    found.results.append(rows.unscored_row(plan.spec.name, protocol.name, streams, fused, origin))
                    continue
                own = {stream: scores[None][stream] for stream in streams}
                found.results.append(rows.result_row(plan, fused, own, provenance))
                found.glosses.extend(rows.gloss_rows(plan, fused, streams))
                rows.save_predictions(self.args.cache, found.results[-1], plan.clips, fused)
                if self.args.robustness:
                    found.robustness.extend(rows.robustness_rows(plan, fused, streams, logits, provenance))
        return found

    def write(self, spec: DatasetSpec, plan: DatasetPlan | Unscored, bar: tqdm) -> list[rows.Record]:
        """Scores a planned data set and writes its rows; returns those of results.csv."""
        found = plan if isinstance(plan, Unscored) else isolated(lambda: self.evaluate(plan, bar))
        if isinstance(found, Unscored):
            origin = self.provenance(found.data_sha256)
            row = rows.unscored_row(spec.name, spec.released, self.streams, found, origin)
            found = rows.DatasetRows([row], [], [])
        results.write_dataset(self.args.out, found.results, found.glosses)
        if found.robustness:
            results.write_robustness(self.args.out, found.robustness)
        return found.results


def summary(measured: Sequence[rows.Record]) -> str:
    """One line on a data set, for the terminal: its best-defined row, and why one was not measured."""
    done, parts = [row for row in measured if row["status"] == "ok"], []
    if done:
        row = done[-1]
        top1, low, high, per_class = (row[f"top1_{c}"] for c in ("instance", "instance_lo", "instance_hi", "class"))
        shares = f"top-1 {top1:.1%} [{low:.1%}, {high:.1%}], per class {per_class:.1%}, n = {row['n']}"
        parts.append(f"{len(done)} rows; {row['streams']}, {row['fusion']}, {row['protocol']}: {shares}")
    parts += [f"{row['status']}: {row['reason']}" for row in measured if row["status"] != "ok"][:1]
    return "; ".join(parts)


def run_all(run: Run, specs: Sequence[DatasetSpec]) -> int:
    """Scores the data sets one after the other; returns the exit code."""
    plans = {spec.name: isolated(partial(run.plan, spec)) for spec in specs}
    total = sum(run.passes(plan) for plan in plans.values() if isinstance(plan, DatasetPlan))
    run.engine.expect(total)
    statuses = set()
    with tqdm(total=total, unit="clip", file=sys.stderr, smoothing=0.05, mininterval=1) as bar:
        for spec in specs:
            measured = run.write(spec, plans.pop(spec.name), bar)
            statuses |= {row["status"] for row in measured}
            tqdm.write(f"{spec.name}: {summary(measured)}")
    return int(bool(statuses & set(FAILURES)))


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python eval/run_all.py", description=__doc__.splitlines()[0])
    add = result.add_argument
    add("--data", nargs="+", type=Path, default=[Path("data")], metavar="DIR", help="folders that hold the data sets")
    add("--weights", type=Path, default=Path("weights"), metavar="DIR", help="holds NAME/STREAM of the benchmarks")
    add(
        "--runs",
        nargs="+",
        type=Path,
        default=[Path("runs")],
        metavar="DIR",
        help="runs of eval/crossval.py, or folders of such",
    )
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
    return exit_code(lambda: _run(args, command))


def _run(args: argparse.Namespace, command: str) -> int:
    names = args.datasets or [*BENCHMARKS, *SMALL_SETS]
    specs = [doctor.named_dataset(name, args.data) for name in dict.fromkeys(names)]
    streams = tuple(streams_name(args.streams).split("+"))
    engine = ScoringEngine(DeviceSettings.choose(args.device, args.dtype, args.workers), args.cache)
    if engine.processes.rank:
        engine.serve()
        return 0
    try:
        check_writable(args.out)
        check_writable(args.cache, "--cache")
        results.read_rows(args.out / RESULTS_FILE)  # a damaged table is told before hours of work
        run = Run(args, streams, engine, command)
        if args.rehearsal is None:
            return run_all(run, specs)
        benchmarks = [spec for spec in specs if spec.name in BENCHMARKS]
        origin = results.made_by(engine.commit, results.now()) | {"command": command}
        print(rehearse(benchmarks, streams, engine.settings, args.out, origin, args.rehearsal))
        return 0
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
