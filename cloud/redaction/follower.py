"""Follows what is in a box from picture to picture, without a model: points that move along, and back again.

Lucas and Kanade's optical flow, forward and backward: a point that does not come back to where it was does not count
(Kalal, Mikolajczyk, Matas: Forward-Backward Error, 2010). The median of the rest moves the box.
"""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from cloud.redaction.rules.tracks import Box

POINTS: Final = 8
"""A grid of so many by so many points in the box."""

MOST_ERROR_PX: Final = 1.5
LEAST_POINTS: Final = 8

Grey = npt.NDArray[np.uint8]


def grey_of(picture: npt.NDArray[np.uint8]) -> Grey:
    """Return the picture in grey."""
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.uint8)


def follow(before: Grey, after: Grey, box: Box) -> Box | None:
    """Return where the box is in the next picture, or None when too few points agree."""
    height, width = before.shape[:2]
    x, y, wide, high = box.x * width, box.y * height, box.width * width, box.height * height
    across, down = np.meshgrid(np.linspace(0.1, 0.9, POINTS), np.linspace(0.1, 0.9, POINTS))
    points = np.stack([x + across.ravel() * wide, y + down.ravel() * high], axis=1).astype(np.float32)[:, None, :]
    nowhere: Any = None  # no first guess
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, nowhere)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, nowhere)
    error = np.linalg.norm(back - points, axis=2).ravel()
    good = (found.ravel() == 1) & (found_back.ravel() == 1) & (error < MOST_ERROR_PX)
    if int(good.sum()) < LEAST_POINTS:
        return None
    moved = (there - points)[good, 0]
    right, foot = float(np.median(moved[:, 0])), float(np.median(moved[:, 1]))
    factor = _growth(points[good, 0], there[good, 0])
    middle_x, middle_y = x + wide / 2 + right, y + high / 2 + foot
    wide, high = wide * factor, high * factor
    left, top = middle_x - wide / 2, middle_y - high / 2
    if left + wide < 4 or top + high < 4 or left > width - 4 or top > height - 4:
        return None  # out of the picture
    return Box(left / width, top / height, wide / width, high / height)


def _growth(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> float:
    """How much larger it became: the median of how distances between points changed; per picture at most a tenth."""
    one, other = before - before.mean(axis=0), after - after.mean(axis=0)
    was = np.linalg.norm(one, axis=1)
    ratio = np.linalg.norm(other, axis=1)[was > 1] / was[was > 1]
    return float(np.clip(np.median(ratio), 0.9, 1.1)) if len(ratio) else 1.0
