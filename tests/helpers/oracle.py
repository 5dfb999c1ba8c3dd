"""The oracle in ../shared, and weights in upstream's layout that need no file at all."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
ORACLE = SHARED / "oracle"

needs_oracle = pytest.mark.skipif(not ORACLE.is_dir(), reason=f"the oracle's numbers are not here ({ORACLE})")
needs_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"the real data is not here ({SHARED})")

SEEDS = {100: 20240319, 500: 20240320, 2000: 20240321}


def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of oracle/NAME.npz."""
    with np.load(ORACLE / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@cache
def recipe_module():
    spec = importlib.util.spec_from_file_location("oracle_recipe", ORACLE / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def upstream_state(num_classes: int) -> dict[str, np.ndarray]:
    """The state dict of the oracle's network: every tensor from a seed, then its batch-norm statistics."""
    shapes = json.loads((ORACLE / "state_shapes_c2000.json").read_text())
    shapes = {name: (tuple(shape), dtype == "int64") for name, (shape, dtype) in shapes.items()}
    for name in ("fc.weight", "fc.bias"):
        shapes[name] = ((num_classes, *shapes[name][0][1:]), False)
    return recipe_module().make(shapes, SEEDS[num_classes], arrays(f"bn_stats_c{num_classes}"))


def random_state(num_classes: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 weights with upstream's names and shapes, of which none is zero; needs no oracle."""
    rng = np.random.default_rng(seed)
    return {name: _random(name, shape, rng) for name, shape in upstream_shapes(num_classes).items()}


def _random(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    z = rng.standard_normal(shape)
    fan = shape[0] if name.endswith("Linear_weight") else int(np.prod(shape[1:])) if len(shape) > 1 else 16
    if name.endswith("num_batches_tracked"):
        return np.array(7)
    if name.endswith("running_var"):
        return (0.5 + np.abs(z)).astype(np.float32)
    if name.endswith("alphas") or ("n" in name.split(".")[-2][:2] and name.endswith("weight") and len(shape) == 1):
        return (1 + 0.3 * z).astype(np.float32)
    if name.endswith("edge_weight"):
        return np.full(shape, 300, np.float32)
    if name.endswith("attention0s"):
        return (1 / 27 + 0.1 * z).astype(np.float32)
    return (z / np.sqrt(fan)).astype(np.float32)


def upstream_shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of upstream's state dict (spec, section 1)."""
    shapes = {**_norm("data_bn", 81), "fc.weight": (num_classes, 512), "fc.bias": (num_classes,)}
    for i, (c_in, c, c_out) in enumerate([(3, 64, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512)]):
        block = f"layers.{i}"
        shapes |= {f"{block}.A": (27, 27), **_san(f"{block}.san", c_in, c)}
        for tcn, c_tcn in (("tcn", c), ("tcn2", c_out), ("tcn3", c_out)):
            for branch, kernel in enumerate((5, 7)):
                name = f"{block}.{tcn}.branches.{branch}"
                shapes |= {f"{name}.conv.weight": (c_out // 2, c_tcn, kernel, 1), f"{name}.conv.bias": (c_out // 2,)}
                shapes |= _norm(f"{name}.bn", c_out // 2)
        for gate, kernel in (("conv_ta", 9), ("conv_sa", 27)):
            shapes |= {f"{block}.{gate}.weight": (1, c, kernel), f"{block}.{gate}.bias": (1,)}
        shapes |= {f"{block}.fc1c.weight": (c // 2, c), f"{block}.fc1c.bias": (c // 2,)}
        shapes |= {f"{block}.fc2c.weight": (c, c // 2), f"{block}.fc2c.bias": (c,)}
        if i:
            pool = f"{block}.residual.pool.net"
            shapes |= {f"{pool}.0.weight": (c_out, 1, 1, 1), f"{pool}.0.bias": (c_out,)}
            shapes |= {f"{pool}.1.weight": (c_out, c_out, 1, 1), f"{pool}.1.bias": (c_out,)}
            shapes |= _norm(f"{block}.residual.bn", c_out)
    return shapes


def _norm(name: str, c: int) -> dict[str, tuple[int, ...]]:
    entries = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{entry}": (c,) for entry in entries} | {f"{name}.num_batches_tracked": ()}


def _san(name: str, c_in: int, c: int) -> dict[str, tuple[int, ...]]:
    shapes = {
        "attention0s": (1, 8, c // 8, 27, 27),
        "alphas": (1, 8, 1, 1),
        "Linear_weight": (c_in, c),
        "Linear_bias": (1, c, 1, 1),
        "edge_weight": (1,),
        "in_nets.weight": (2 * c, c, 1, 1),
        "in_nets.bias": (2 * c,),
        "mlp.fc1.weight": (4 * c, c),
        "mlp.fc1.bias": (4 * c,),
        "mlp.fc2.weight": (c, 4 * c),
        "mlp.fc2.bias": (c,),
        "Edge_conv.edge_features": (c, 6),
        "Edge_conv.alphas": (1, 1, 6, 1),
        "Edge_conv.transform.weight": (c, c, 1, 1),
        "Edge_conv.transform.bias": (c,),
        **_norm("bn0", c),
        **_norm("bn", c),
    }
    for norm in ("norm1", "norm2", "Edge_conv.norm1"):
        shapes |= {f"{norm}.weight": (c,), f"{norm}.bias": (c,)}
    if c_in != c:
        shapes |= {"down.0.weight": (c, c_in, 1, 1), "down.0.bias": (c,), **_norm("down.1", c)}
    return {f"{name}.{entry}": shape for entry, shape in shapes.items()}
