"""A tflite model without outputs that nobody reads, and without what computes them alone."""

from collections.abc import Sequence

import numpy as np
from flatbuffers.table import Table

# Where a table's fields are listed, by tensorflow/compiler/mlir/lite/schema/schema.fbs.
_SUBGRAPHS = 8  # of a Model
_OUTPUTS, _OPERATORS = 8, 10  # of a SubGraph
_READ, _WRITTEN = 6, 8  # of an Operator: tensors


def pruned(content: bytes, outputs: Sequence[int]) -> bytes:
    """The model with only these of its outputs, by their numbers. It is changed in place, by making lists shorter: what
    is left computes the same."""
    data = bytearray(content)
    graph = _tables(Table(data, int.from_bytes(data[:4], "little")), _SUBGRAPHS)[0]
    ends, operators = _list(graph, _OUTPUTS, "<i4"), _tables(graph, _OPERATORS)
    ends = ends[list(outputs)]
    needed, kept = set(ends.tolist()), []
    for operator in reversed(operators):
        if not needed.isdisjoint(_list(operator, _WRITTEN, "<i4").tolist()):
            needed.update(_list(operator, _READ, "<i4").tolist())
            kept.append(operator.Pos)
    start = graph.Vector(graph.Offset(_OPERATORS))
    places = np.array(kept[::-1]) - (start + 4 * np.arange(len(kept)))  # each counts from where it is written
    _shorten(graph, _OPERATORS, places.astype("<u4"))
    _shorten(graph, _OUTPUTS, ends)
    return bytes(data)


def _list(table: Table, field: int, kind: str) -> np.ndarray:
    offset = table.Offset(field)
    count = table.VectorLen(offset) if offset else 0
    return np.frombuffer(table.Bytes, kind, count, table.Vector(offset)) if count else np.zeros(0, kind)


def _tables(table: Table, field: int) -> list[Table]:
    start = table.Vector(table.Offset(field))
    return [Table(table.Bytes, int(start + 4 * i + far)) for i, far in enumerate(_list(table, field, "<u4"))]


def _shorten(table: Table, field: int, values: np.ndarray) -> None:
    start = table.Vector(table.Offset(field))
    table.Bytes[start - 4 : start] = len(values).to_bytes(4, "little")
    table.Bytes[start : start + 4 * len(values)] = values.tobytes()
