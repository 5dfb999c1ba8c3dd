"""Two real gloo processes against one: the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.benchmarks import skeleton_set, upstream_set
from helpers.training import PATIENCE

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.model import DSTA, DropBlock, ModelConfig
from dsta.train.__main__ import main
from dsta.train.distributed import Group, SyncedDropBlock, SyncedNorm, compiled, joined, synchronise
from dsta.train.state import LOG_FILE, RESUME_FILE

pytestmark = pytest.mark.flaky(reruns=1)  # the port that the launcher found free may be taken before it is used
ROOT = Path(__file__).resolve().parents[2]
SIZES = ModelConfig(5, inner_dim=8, depth=3)


# In float64, where nothing but a mistake makes a difference: a training step's losses on three batches, with DropBlock.
STEPS = """
import json, sys
import torch, torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from dsta.train.distributed import joined, synchronise
from dsta.model import DSTA, ModelConfig

with joined(torch.device("cpu")) as group:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = DSTA(ModelConfig(5, inner_dim=8, depth=3)).double()
    data = torch.load(sys.argv[1])
    synchronise(model, group)
    stepped = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    losses = []
    for x, y in data:
        torch.manual_seed(7)
        part = group.part(len(x))
        loss = F.cross_entropy(stepped(x[part], 0.6), y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(group.total(loss.detach()) / group.size))
    if group.leads:
        torch.save({"losses": losses, "state": model.state_dict()}, sys.argv[2])
"""


@contextmanager
def torchrun_begun(*arguments):
    """Two processes and their launcher, none of which outlives the block; the launcher chooses a free port."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **piped) as job:
        try:
            yield job
        finally:
            job.terminate()  # which it hands on to the two, if they are not through


def torchrun(*arguments):
    """Runs two processes to their end: (exit code, what they said)."""
    with torchrun_begun(*arguments) as job:
        out, err = job.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(arguments, job.returncode, out, err)


@pytest.mark.slow
def test_two_processes_step_like_one(tmp_path):
    torch.manual_seed(1)
    data = [(torch.randn(6, 3, 8, 27).double() * 50, torch.randint(0, 5, (6,))) for _ in range(3)]
    torch.save(data, tmp_path / "data.pt")
    (tmp_path / "steps.py").write_text(STEPS)
    ran = torchrun(str(tmp_path / "steps.py"), str(tmp_path / "data.pt"), str(tmp_path / "two.pt"))
    assert ran.returncode == 0, ran.stderr
    two = torch.load(tmp_path / "two.pt")
    torch.manual_seed(0)
    model = DSTA(SIZES).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    losses = []
    for x, y in data:
        torch.manual_seed(7)
        loss = F.cross_entropy(model(x, 0.6), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert two["losses"] == pytest.approx(losses, abs=1e-9)
    for name, tensor in model.state_dict().items():
        assert torch.allclose(two["state"][name], tensor, atol=1e-9), name  # running statistics among them


@pytest.fixture
def folder(tmp_path):
    """An upstream folder of 8 training clips of two classes."""
    return upstream_set(tmp_path / "tiny", [f"c{i}" for i in range(8)], [i % 2 for i in range(8)], split="train")


def arguments(folder, out, *more):
    course = ["--recipe", "reference", "--model", "compact", "--batch-size", "4", "--epochs", "2", "--schedule", "250"]
    chosen = ["--stream", "joint", "--select", "last", "--learning-rate", "0.001"]
    return ["--data", str(folder), "--out", str(out), *course, *chosen, *more]


def losses(out):
    return [json.loads(line)["loss"] for line in (out / LOG_FILE).read_text().splitlines()]


@pytest.mark.slow
def test_torchrun_has_the_losses_of_one_process(folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(arguments(folder, one)) == 0
    ran = torchrun("-m", "dsta.train", *arguments(folder, two))
    assert ran.returncode == 0, ran.stderr
    assert len(losses(one)) == 2 and losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    loaded = Checkpoint.load(two)
    assert loaded.provenance["processes"] == 2 and "state" not in loaded.provenance


@pytest.mark.slow
def test_a_users_mistake_under_torchrun_is_told_once(tmp_path):
    folder = skeleton_set(tmp_path / "mine")
    given = ["--data", str(folder), "--stream", "joint", "--out", str(tmp_path / "out"), "--batch-size", "7"]
    ran = torchrun("-m", "dsta.train", *given)
    assert ran.returncode != 0
    assert ran.stderr.count("A batch of 7 cannot be divided over 2 processes") == 1


@pytest.mark.slow
def test_ctrl_c_under_torchrun_leaves_what_one_process_continues(tmp_path):
    folder, out = skeleton_set(tmp_path / "mine"), tmp_path / "out"
    given = ["--data", str(folder), "--stream", "joint", "--out", str(out), "--batch-size", "8", "--schedule", "250"]
    with torchrun_begun("-m", "dsta.train", *given) as job:
        deadline = time.monotonic() + PATIENCE
        while not (out / RESUME_FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=PATIENCE)
    assert "holds a network that can be used" in err, err
    curve = losses(out)
    assert Checkpoint.load(out).provenance["state"] == f"interrupted after epoch {len(curve)} of 250"
    assert main([*given, "--epochs", str(len(curve) + 1)]) == 0
    assert losses(out)[: len(curve)] == curve and len(losses(out)) == len(curve) + 1


# --- without a second process


def test_norms_and_dropblock_are_all_replaced_and_names_stay():
    model = DSTA(SIZES)
    names = list(model.state_dict())
    synchronise(model, Group(0, 2))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms and all(isinstance(m, SyncedNorm) for m in norms)
    drops = [m for m in model.modules() if isinstance(m, DropBlock)]
    assert drops and all(isinstance(m, SyncedDropBlock) for m in drops)
    assert list(model.state_dict()) == names


def test_in_evaluation_the_synchronised_network_is_the_same():
    torch.manual_seed(0)
    model, x = DSTA(SIZES).eval(), torch.randn(2, 3, 8, 27)
    before = model(x)
    synchronise(model, Group(0, 2))
    assert torch.equal(model(x), before)


def test_what_talks_to_the_others_is_not_compiled(monkeypatch):
    traced = []
    monkeypatch.setattr(SyncedNorm, "_over_all", lambda self, x: traced.append(torch.compiler.is_compiling()) or x)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    synchronise(model, Group())
    compiled(model)(torch.randn(4, 3, 2))
    assert traced == [False]


def test_parts_make_up_the_batch():
    parts = [np.arange(12)[Group(rank, 3).part(12)] for rank in range(3)]
    assert np.concatenate(parts).tolist() == list(range(12)) and {len(part) for part in parts} == {4}
    with pytest.raises(UserError, match="--batch-size"):
        Group(0, 3).part(8)


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(torch.device("cpu")) as group:
        assert group == Group() and group.leads and group.from_leader("x") == "x"
        assert torch.equal(group.total(torch.ones(2)), torch.ones(2))
