"""What MediaPipe's own Holistic finds: the truth that `dsta.video` reproduces. Its names of landmarks, not ours."""

import numpy as np

from dsta.skeleton import INDEX
from dsta.video.models import BUNDLE
from dsta.video.quiet import native_logs

_BODY = {"nose": "NOSE"} | {
    f"{side}_{part}": f"{side}_{part}".upper() for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")
}
_FINGERS = {"index": "INDEX_FINGER", "middle": "MIDDLE_FINGER", "ring": "RING_FINGER", "little": "PINKY"}
_HAND = {"hand_root": "WRIST", "thumb_tip": "THUMB_TIP"} | {
    f"{ours}_{end}": f"{theirs}_{part}"
    for ours, theirs in _FINGERS.items()
    for end, part in (("base", "MCP"), ("tip", "TIP"))
}


def mediapipe_joints(frames, width, height):
    """(T, 27, 3) of frames with rising times, in pixels of `width` × `height`: `mediapipe.tasks`, mode VIDEO."""
    with native_logs.hidden():
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
        from mediapipe.tasks.python.vision.hand_landmarker import HandLandmark

        options = vision.HolisticLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(BUNDLE)),
            running_mode=vision.RunningMode.VIDEO,
            min_face_detection_confidence=1.0,  # never look for the face, of which the bundle has no blendshapes
        )
        found, last = [], -1
        with vision.HolisticLandmarker.create_from_options(options) as landmarker:
            for frame in frames:
                last = max(last + 1, round(frame.time * 1000))
                image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame.image)
                found.append(
                    _joints(landmarker.detect_for_video(image, last), width, height, vision.PoseLandmark, HandLandmark)
                )
    return np.stack(found)


def _joints(result, width, height, body_marks, hand_marks):
    joints = np.zeros((len(INDEX), 3))
    for ours, theirs in _BODY.items() if result.pose_landmarks else ():
        mark = result.pose_landmarks[body_marks[theirs]]
        joints[INDEX[ours]] = mark.x * width, mark.y * height, min(1.0, mark.visibility)
    for side in ("left", "right"):
        hand = getattr(result, f"{side}_hand_landmarks")
        for ours, theirs in _HAND.items() if hand else ():
            mark = hand[hand_marks[theirs]]
            joints[INDEX[f"{side}_{ours}"]] = mark.x * width, mark.y * height, 1.0
    return joints
