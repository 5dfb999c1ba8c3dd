"""By what the scores of taught signs become probabilities: fitted on validation clips, looked at on test clips.

    python eval/taught.py --data data/WLASL100 --weights runs/fewshot --background data/wlasl_first30

The networks do not know some glosses of the data set (eval/fewshot.py says how such are trained). Of these 5, 10, 20 or
all are taught by 1 to 5 training clips each, of other signers than the one who is asked about. Printed, for
`dsta.teach`: the temperature of least log-loss among the taught glosses; the level at which a score counts as much as a
logit of 0, of least log-loss where clips of known glosses are asked about as often and all glosses may be the answer;
the familiarity that nine tenths of the clips reach; and, for the test clips, what these values come to.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from dsta.checkpoint import Ensemble, FamiliarSigns
from dsta.common import at_least, exit_code
from dsta.data import read_clip_set
from dsta.embedding import Head, familiarity, joint_embedding, prototypes, taught_head
from dsta.metrics import log_loss
from dsta.score import score_streams
from dsta.streams import fuse
from dsta.teach.taught import FITTED, Fitted
from eval.episodes import Questions, read_questions
from eval.familiar import background_clips, fitted_means, spread_out, threshold_of
from eval.plan import check_unseen

WAYS = (5, 10, 20, None)
SHOTS = (1, 2, 3, 4, 5)
ACCEPTED = 0.8
"""Share of the answers above the threshold that are right."""
_BACKGROUND_CLIPS = 400


@dataclass(frozen=True)
class Clips:
    """Clips: embeddings (N, D), logits (N, K) of the known glosses after their temperature, labels (N,) among these."""

    embeddings: np.ndarray
    logits: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Episode:
    """Clips (q,) of a signer that are asked about, their labels among the taught glosses, what tells these apart, their
    prototypes, and as many clips of known glosses."""

    asked: np.ndarray
    labels: np.ndarray
    head: Head
    alike: np.ndarray
    others: np.ndarray


@dataclass(frozen=True)
class TaughtBench:
    """questions: their clips, and all that the networks say of these; known: protocol -> clips of known glosses."""

    questions: Questions
    new: Clips
    known: dict[str, Clips]
    signs: FamiliarSigns

    def episodes(self, protocol: str, shots: int, draws: int) -> Iterator[Episode]:
        """One for each draw, signer and number of glosses."""
        clips, asked = self.questions.clips, self.questions.asked[protocol]
        sources = np.asarray(clips.sources)
        for draw in range(draws):
            rng = np.random.default_rng([2025, draw])
            order = rng.permutation(len(clips))
            for ways in WAYS:
                taught = np.sort(rng.permutation(len(clips.glosses))[:ways])
                for source in np.unique(sources[asked]):
                    examples = self.questions.examples(source, shots, order)
                    there = np.array([gloss for gloss in taught if len(examples[gloss])])
                    own = asked[(sources[asked] == source) & np.isin(clips.labels[asked], there)]
                    if len(own) and len(there) > 1:
                        rows, labels = [examples[g] for g in there], np.searchsorted(there, clips.labels[own])
                        head, others = taught_head(self.new.embeddings, rows), self.known[protocol].labels
                        alike, drawn = prototypes(self.new.embeddings, rows), rng.choice(len(others), len(own))
                        yield Episode(own, labels, head, alike, drawn)

    def alone(self, of: Episode, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Logits among the taught glosses, and labels."""
        return of.head.scores(self.new.embeddings[of.asked]) / temperature, of.labels

    def together(self, of: Episode, fitted: Fitted, protocol: str) -> tuple[np.ndarray, np.ndarray]:
        """Logits over known and taught glosses, and labels, of the clips that are asked about, then of known ones."""
        known = self.known[protocol]
        seen = np.concatenate([self.new.embeddings[of.asked], known.embeddings[of.others]])
        theirs = np.concatenate([self.new.logits[of.asked], known.logits[of.others]])
        said = np.hstack([theirs, (of.head.scores(seen) - fitted.level) / fitted.temperature])
        return said, np.concatenate([theirs.shape[1] + of.labels, known.labels[of.others]])

    def familiarity(self, of: Episode) -> np.ndarray:
        signs = replace(self.signs, known=of.alike, gloss=np.arange(len(of.alike)))
        return familiarity(self.new.embeddings[of.asked], signs)

    def fit(self, found: Sequence[Episode]) -> Fitted:
        """What fits validation episodes."""
        counts = [len(episode.labels) for episode in found]

        def loss(log_temperature: float) -> float:
            each = [log_loss(*self.alone(episode, np.exp(log_temperature))) for episode in found]
            return float(np.average(each, weights=counts))

        temperature = float(np.exp(minimize_scalar(loss, bounds=(-5, 1), method="bounded").x))

        def loss_beside(level: float) -> float:
            fitted = Fitted(temperature, level, 0.0)
            return float(np.average([log_loss(*self.together(e, fitted, "val")) for e in found], weights=counts))

        level = float(minimize_scalar(loss_beside, bounds=(-1, 1.5), method="bounded").x)
        return Fitted(temperature, level, threshold_of(np.concatenate([self.familiarity(e) for e in found])))

    def told(self, found: Sequence[Episode], fitted: Fitted, protocol: str) -> str:
        """What values come to."""
        alone = [self.alone(episode, fitted.temperature) for episode in found]
        best = np.concatenate([softmax(scores, axis=1).max(1) for scores, _ in alone])
        right = np.concatenate([scores.argmax(1) == labels for scores, labels in alone])
        order = np.argsort(-best)
        fine = np.flatnonzero(right[order].cumsum() / np.arange(1, len(order) + 1) >= ACCEPTED)
        both = [self.together(episode, fitted, protocol) for episode in found]
        hits = [scores.argmax(1) == labels for scores, labels in both]
        new, known = (np.concatenate([np.split(hit, 2)[i] for hit in hits]).mean() for i in (0, 1))
        reached = np.concatenate([self.familiarity(episode) for episode in found]) >= fitted.known
        accepted = best[order][fine[-1]] if len(fine) else 1.0
        alone_said = f"taught alone {right.mean():.1%}, ECE {_calibration(best, right):.3f}"
        above = f"four fifths right above {accepted:.2f}, familiar {reached.mean():.1%}"
        return f"{protocol}: {alone_said}, {above}; with the vocabulary taught {new:.1%}, known {known:.1%}"


def _calibration(best: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error of the best answers' probabilities (N,), over 15 bins."""
    index = np.minimum((best * 15).astype(int), 14)
    return float(np.abs(np.bincount(index, right, 15) - np.bincount(index, best, 15)).sum() / len(best))


def read_bench(data: Path, weights: Path, background: Path) -> TaughtBench:
    """Scores all clips. Raises UserError."""
    ensemble = Ensemble.load(weights)
    questions = read_questions(data, ensemble.glosses, same_source=False)
    check_unseen(ensemble, weights, questions.clips.fingerprints)

    def scored(joints: Sequence[np.ndarray], labels: np.ndarray) -> Clips:
        said = score_streams(ensemble, joints)
        logits = fuse({stream: of.logits for stream, of in said.items()}, ensemble.fusion)
        return Clips(joint_embedding(said, ensemble.fusion), logits.astype(np.float64), labels)

    known = {}
    for split in ("train", "val", "test"):
        clips = read_clip_set(data, split)
        of = [i for i, label in enumerate(clips.labels) if clips.glosses[label] in ensemble.glosses]
        labels = np.array([ensemble.glosses.index(clips.glosses[clips.labels[i]]) for i in of])
        known[split] = scored([clips.joints[i] for i in of], labels)
    val = known["val"]
    found = minimize_scalar(lambda t: log_loss(val.logits / np.exp(t), val.labels), bounds=(-2, 2), method="bounded")
    temperature = float(np.exp(found.x))
    known = {split: replace(clips, logits=clips.logits / temperature) for split, clips in known.items()}
    new = scored(questions.clips.joints, questions.clips.labels)
    others = background_clips(background, {*questions.clips.glosses, *ensemble.glosses})
    others = [others[i] for i in spread_out(len(others), _BACKGROUND_CLIPS)]
    signs = fitted_means(known["train"].embeddings, known["train"].labels, scored(others, np.zeros(0)).embeddings)
    return TaughtBench(questions, replace(new, logits=new.logits / temperature), known, signs)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/taught.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, metavar="DIR", help="a data set with splits and signers")
    add("--weights", required=True, type=Path, metavar="DIR", help="networks that do not know some of its glosses")
    add("--background", required=True, type=Path, metavar="DIR", help="a set with other signs")
    add("--draws", type=at_least(1), default=5, metavar="N", help="of the examples (default %(default)s)")
    args = parser.parse_args(arguments)

    def work() -> None:
        bench = read_bench(args.data, args.weights, args.background)
        for shots in SHOTS:
            found = list(bench.episodes("val", shots, args.draws))
            print(f"{shots}: Fitted({', '.join(f'{value:.3f}' for value in bench.fit(found))})", flush=True)
            for protocol in bench.questions.asked:
                asked = list(bench.episodes(protocol, shots, args.draws))
                print(f"  {bench.told(asked, FITTED[shots - 1], protocol)}", flush=True)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
