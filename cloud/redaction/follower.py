"""Follows what is in boxes from picture to picture, without a model: points that move along, and back again.

Lucas and Kanade's optical flow, forward and backward: a point that does not come back to where it was does not count
(Kalal, Mikolajczyk, Matas: Forward-Backward Error, 2010). The median of the rest moves the box.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from cloud.redaction.rules.tracks import Box

POINTS: Final = 8
"""A grid of so many by so many points in the box."""

WIDEST: Final = 640
"""Pictures are followed in no larger than this: half a pixel of it is less than the margin around a face."""

MOST_ERROR_PX: Final = 1.5
LEAST_POINTS: Final = 8

Grey = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]


def grey_size(width: int, height: int) -> tuple[int, int]:
    """Return the size (even) in which a picture of this size is followed."""
    scale = min(1.0, WIDEST / max(width, height, 1))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def follow(before: Grey, after: Grey, box: Box) -> Box | None:
    """Return where the box is in the next picture, or None when too few points agree."""
    return follow_all(before, after, (box,))[0]


def follow_all(before: Grey, after: Grey, boxes: Sequence[Box]) -> list[Box | None]:
    """Return where each box is in the next picture; None for one of which too few points agree."""
    if not boxes:
        return []
    height, width = before.shape[:2]
    points = np.concatenate([_grid(box, width, height) for box in boxes])[:, None, :]
    nowhere: Any = None  # no first guess
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, nowhere)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, nowhere)
    error = np.linalg.norm(back - points, axis=2).ravel()
    good = (found.ravel() == 1) & (found_back.ravel() == 1) & (error < MOST_ERROR_PX)
    moved: list[Box | None] = []
    for number, box in enumerate(boxes):
        mine = slice(number * POINTS**2, (number + 1) * POINTS**2)
        kept = good[mine]
        moved.append(_moved(box, points[mine, 0][kept], there[mine, 0][kept], width, height))
    return moved


def _grid(box: Box, width: int, height: int) -> Points:
    x, y, wide, high = box.x * width, box.y * height, box.width * width, box.height * height
    across, down = np.meshgrid(np.linspace(0.1, 0.9, POINTS), np.linspace(0.1, 0.9, POINTS))
    return np.stack([x + across.ravel() * wide, y + down.ravel() * high], axis=1).astype(np.float32)


def _moved(box: Box, before: Points, after: Points, width: int, height: int) -> Box | None:
    if len(before) < LEAST_POINTS:
        return None
    right, foot = (float(value) for value in np.median(after - before, axis=0))
    factor = _growth(before, after)
    wide, high = box.width * width, box.height * height
    middle_x, middle_y = box.x * width + wide / 2 + right, box.y * height + high / 2 + foot
    wide, high = wide * factor, high * factor
    left, top = middle_x - wide / 2, middle_y - high / 2
    if left + wide < 4 or top + high < 4 or left > width - 4 or top > height - 4:
        return None  # out of the picture
    return Box(left / width, top / height, wide / width, high / height)


def _growth(before: Points, after: Points) -> float:
    """How much larger it became: the median of how distances between points changed; per picture at most a tenth."""
    one, other = before - before.mean(axis=0), after - after.mean(axis=0)
    was = np.linalg.norm(one, axis=1)
    ratio = np.linalg.norm(other, axis=1)[was > 1] / was[was > 1]
    return float(np.clip(np.median(ratio), 0.9, 1.1)) if len(ratio) else 1.0
