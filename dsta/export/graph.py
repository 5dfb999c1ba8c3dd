"""One ONNX graph of a preparation, networks and the weighted mean of their scores; torch traces, onnx puts together.

Everything here works on torch modules and ONNX messages; what they mean is `dsta.export`'s.
"""

import io
import logging
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OPSET = 18
"""The lowest that torch's exporter writes without converting a finished graph."""
IR_VERSION = 8  # of the time of that opset, so that runtimes as old can read the file


@dataclass(frozen=True)
class NetworkPart:
    """A network (views · N, …) -> (views · N, K), in evaluation mode, and its share in the weighted mean.

    Networks of the same `architecture` differ in nothing but their weights.
    """

    network: nn.Module
    architecture: Hashable
    views: int
    share: float


def assemble(
    preparation: nn.Module,
    example: Tensor,
    parts: Mapping[str, NetworkPart],
    classes: int,
    properties: Mapping[str, str],
) -> bytes:
    """The graph `clip` -> `logits` (N, classes) as the bytes of a file, checked by `onnx.checker` in full.

    preparation: module of a clip (N, T, …) that gives an input for each part and, last, zeros (N, 1), NaN where the
    answer shall be. example: a clip with N and T above 1, which stay free.
    One network of each architecture is traced, which takes seconds; the others put their weights in its place.
    """
    import onnx
    from onnx import helper

    free = torch.export.Dim
    names = [*(f"{name}/input" for name in parts), "nan_or_zero"]
    whole = _traced(preparation, example, "clip", names, {0: free("clips"), 1: free("frames")}, simplify=True).graph
    traced: dict[Hashable, Any] = {}
    terms = ["nan_or_zero"]
    for (name, part), x in zip(parts.items(), preparation(example), strict=False):
        if part.architecture not in traced:  # not simplified, which would fold weights into others
            traced[part.architecture] = _traced(part.network, x, "input", ["scores"], {0: free("rows")}, simplify=False)
        graph = onnx.compose.add_prefix(_with_weights(traced[part.architecture], part.network), f"{name}/").graph
        whole.node.extend(graph.node)
        whole.initializer.extend(graph.initializer)
        terms.append(_add_mean(whole, name, [part.views, -1, classes], part.share))
    whole.node.append(helper.make_node("Sum", terms, ["logits"]))
    output = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["clips", classes])
    graph = helper.make_graph(whole.node, "dsta", whole.input, [output], whole.initializer)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, producer_name="dsta", opset_imports=[opset], ir_version=IR_VERSION)
    helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _traced(
    module: nn.Module, example: Tensor, name: str, outputs: list[str], free: dict[int, Any], simplify: bool
) -> Any:
    """The ONNX form of a module of one argument, without the exporter's notes (local paths are among them)."""
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module, (example,), dynamo=True, dynamic_shapes=(free,), opset_version=OPSET, external_data=False,
            optimize=simplify, input_names=[name], output_names=outputs, verbose=False,
        )  # fmt: skip
    assert program is not None  # what torch says of its older exporter
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _with_weights(traced: Any, network: nn.Module) -> Any:
    """A traced network with the weights of another of its architecture."""
    import onnx

    model, state = onnx.ModelProto(), network.state_dict()
    model.CopyFrom(traced)
    for tensor in model.graph.initializer:
        if tensor.name in state:
            tensor.CopyFrom(onnx.numpy_helper.from_array(state[tensor.name].cpu().numpy(), tensor.name))
    return model


def _add_mean(graph: Any, name: str, shape: list[int], share: float) -> str:
    """Adds the mean of a part's scores over the views, times its share, to a graph; returns the name of the product."""
    from onnx import helper, numpy_helper

    constants = {"shape": np.array(shape), "axis": np.array([0]), "factor": np.array(share, np.float32)}
    shape_, axis, factor, by_view, mean, term = (f"{name}/fusion/{x}" for x in (*constants, "by_view", "mean", "term"))
    for key, value in zip((shape_, axis, factor), constants.values(), strict=True):
        graph.initializer.append(numpy_helper.from_array(value, key))
    graph.node.append(helper.make_node("Reshape", [f"{name}/scores", shape_], [by_view]))
    graph.node.append(helper.make_node("ReduceMean", [by_view, axis], [mean], keepdims=0))
    graph.node.append(helper.make_node("Mul", [mean, factor], [term]))
    return term


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks about its own workings off the screen."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
