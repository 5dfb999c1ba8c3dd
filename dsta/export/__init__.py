"""A weights folder as one ONNX file, preparation included."""

from dsta.export.file import export

__all__ = ["export"]
