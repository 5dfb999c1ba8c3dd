"""Rebuild `holistic_landmarker.task` bit for bit from a MediaPipe wheel.

    pip download --no-deps --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_x86_64 mediapipe==0.10.21
    python weights/pose/build_bundle.py mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl [--check]

The wheel of MediaPipe 0.10.21 carries the models of Holistic's older interface; today's wheels have only the
Tasks interface, which wants them in one bundle, and Google's own bundle must be downloaded. The Tasks interface reads
how to scale pixels from metadata inside a model; two of the old models have none, so it is added here.

Needs numpy and flatbuffers 25.12.19 (another version lays out the same content in other bytes); the schemas come from
the wheel, and MediaPipe need not be installed.
"""

import argparse
import hashlib
import io
import struct
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import flatbuffers
import numpy as np

WHEEL = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
BUNDLE = Path(__file__).with_name("holistic_landmarker.task")

_MODULES = "mediapipe/modules/"
# Name in the bundle → (file in the wheel, whether it needs metadata).
PARTS = {
    "face_blendshapes.tflite": ("holistic_landmark/hand_recrop.tflite", True),  # see README: a stand-in, never run
    "face_detector.tflite": ("face_detection/face_detection_short_range.tflite", False),
    "face_landmarks_detector.tflite": ("face_landmark/face_landmark.tflite", False),
    "hand_landmarks_detector.tflite": ("hand_landmark/hand_landmark_full.tflite", False),
    "hand_roi_refinement.tflite": ("holistic_landmark/hand_recrop.tflite", True),
    "pose_detector.tflite": ("pose_detection/pose_detection.tflite", False),
    "pose_landmarks_detector.tflite": ("pose_landmark/pose_landmark_full.tflite", True),
}


def build(wheel: Path) -> bytes:
    """The bundle's bytes. Raises SystemExit for a wheel that is not the one named above."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise SystemExit(f"{wheel.name} has sha256 {found}; {WHEEL} with {WHEEL_SHA256} is needed.")
    bundle = io.BytesIO()
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as target:
        schemas = _schema(source, "schema_py_generated"), _schema(source, "metadata_schema_py_generated")
        for name, (part, needs_metadata) in sorted(PARTS.items()):
            model = source.read(_MODULES + part)
            if needs_metadata:
                model = _with_metadata(model, *schemas)
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # fixed, or each build would differ
            entry.create_system = 3  # likewise: Windows would write 0
            entry.external_attr = 0o600 << 16
            # TFLite reads a model in place, and wants it at a multiple of 16 (MediaPipe's own writer pads likewise).
            padding = -(bundle.tell() + 30 + len(name) + 4) % 16
            entry.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)  # 0xD935: Android's alignment field
            target.writestr(entry, model)
    return bundle.getvalue()


def _schema(wheel: zipfile.ZipFile, name: str) -> ModuleType:
    """A generated flatbuffers schema of the wheel itself; importing mediapipe 0.10.21 is not needed."""
    code = wheel.read(f"mediapipe/tasks/metadata/{name}.py")
    module = ModuleType(name)
    exec(compile(code, name, "exec"), module.__dict__)
    return module


def _with_metadata(data: bytes, schema: ModuleType, metadata: ModuleType) -> bytes:
    """The model with TFLITE_METADATA that says: one RGB image, pixel values divided by 255."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_image_metadata(metadata), dtype=np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _image_metadata(metadata: ModuleType) -> bytes:
    scaling = metadata.NormalizationOptionsT()
    scaling.mean, scaling.std = [0.0], [255.0]
    step = metadata.ProcessUnitT()
    step.optionsType, step.options = metadata.ProcessUnitOptions.NormalizationOptions, scaling
    image = metadata.ImagePropertiesT()
    image.colorSpace = metadata.ColorSpaceType.RGB
    content = metadata.ContentT()
    content.contentPropertiesType, content.contentProperties = metadata.ContentProperties.ImageProperties, image
    tensor = metadata.TensorMetadataT()
    tensor.name, tensor.content, tensor.processUnits = "image", content, [step]
    graph = metadata.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor]
    model = metadata.ModelMetadataT()
    model.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"M001")
    return bytes(builder.Output())


def main() -> int:
    """Write the bundle, or with --check compare the committed one; exit code 1 if they differ."""
    parser = argparse.ArgumentParser(description="Rebuild the pose bundle from a MediaPipe wheel.")
    parser.add_argument("wheel", type=Path, help=WHEEL)
    parser.add_argument("--check", action="store_true", help="compare with the committed bundle, write nothing")
    args = parser.parse_args()
    bundle = build(args.wheel)
    print(hashlib.sha256(bundle).hexdigest(), len(bundle), "bytes")
    if not args.check:
        BUNDLE.write_bytes(bundle)
    elif not BUNDLE.is_file() or BUNDLE.read_bytes() != bundle:
        print(f"{BUNDLE.name} is not this bundle; flatbuffers is {version('flatbuffers')}, 25.12.19 is needed")
        return 1
    else:
        print(f"{BUNDLE.name} is this bundle, bit for bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
