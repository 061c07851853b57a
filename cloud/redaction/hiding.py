"""Makes parts of a picture unrecognisable for good: a few large blocks of a few colours each, never a mere blur.

A face becomes at most four by four blocks of at least twelve pixels, in eight steps per colour: some forty bytes of
what was there. A Gaussian blur could be turned back; this cannot.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cloud.redaction.rules.tracks import Box

BLOCKS: Final = 4
LEAST_BLOCK_PX: Final = 12
LEAST_BOX_PX: Final = 36
"""A face of sixteen pixels in blocks of four is still that face: boxes and blocks have a floor in pixels."""

STEP: Final = 32
"""Colours are rounded to this many: eight steps each."""

WHOLE_BLOCKS: Final = 8
"""Blocks in the height of a picture that is hidden altogether: a face that fills a quarter of it is two blocks."""

Picture = npt.NDArray[np.uint8]


def hide(pixels: Picture, boxes: Sequence[Box]) -> None:
    """Make these parts unrecognisable, in place."""
    height, width = pixels.shape[:2]
    for box in boxes:
        left, top, right, foot = _pixels(box, width, height)
        if right > left and foot > top:
            _mosaic(pixels[top:foot, left:right], BLOCKS, BLOCKS)


def hide_all_but(pixels: Picture, visible: Sequence[Box]) -> None:
    """Make everything unrecognisable, in place, but for these parts."""
    height, width = pixels.shape[:2]
    kept = []
    for box in visible:
        left, top = max(0, int(box.x * width)), max(0, int(box.y * height))
        right, foot = min(width, int((box.x + box.width) * width)), min(height, int((box.y + box.height) * height))
        kept.append((left, top, right, foot, pixels[top:foot, left:right].copy()))
    _mosaic(pixels, max(1, round(WHOLE_BLOCKS * width / height)), WHOLE_BLOCKS)
    for left, top, right, foot, part in kept:
        pixels[top:foot, left:right] = part


def _pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return whole pixels around the box, at least LEAST_BOX_PX wide and high where the picture has the room."""
    wide, high = max(LEAST_BOX_PX, box.width * width), max(LEAST_BOX_PX, box.height * height)
    middle_x, middle_y = (box.x + box.width / 2) * width, (box.y + box.height / 2) * height
    left, top = int(middle_x - wide / 2), int(middle_y - high / 2)
    right, foot = int(middle_x + wide / 2) + 1, int(middle_y + high / 2) + 1
    return max(0, left), max(0, top), min(width, right), min(height, foot)


def _mosaic(part: Picture, across: int, down: int) -> None:
    high, wide = part.shape[:2]
    columns = max(1, min(across, wide // LEAST_BLOCK_PX))
    rows = max(1, min(down, high // LEAST_BLOCK_PX))
    few = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    flat = ((few // STEP) * STEP + STEP // 2).astype(np.uint8)
    part[:] = cv2.resize(flat, (wide, high), interpolation=cv2.INTER_NEAREST)
