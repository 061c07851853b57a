"""Whether a film carries the marks of a camera that signs its pictures. A mark is found, never believed.

Signing cameras put their signatures into the film itself, in an SEI message (user data unregistered) that begins with
a fixed UUID. Finding it says that a check with the maker's own tool is worth while, and nothing about its outcome: the
untouched file is kept for that. In an encrypted film nothing can be found.
"""

from typing import Final
from uuid import UUID

AXIS: Final = UUID("5369676e-6564-2056-6964-656f2e2e2e30").bytes  # signed-video-framework: "Signed Video...0"
ONVIF: Final = UUID("005bc93f-2d71-5e95-ada4-796f90877a6f").bytes  # ONVIF Media Signing 26.06

_UUID_BYTES: Final = 16


class Marks:
    """Looks at a file piece by piece."""

    def __init__(self) -> None:
        self.found: str | None = None
        self._end = b""

    def look(self, piece: bytes) -> None:
        """Look at the next piece."""
        if self.found is not None:
            return
        seam = self._end + piece[: _UUID_BYTES - 1]
        for name, mark in (("axis", AXIS), ("onvif", ONVIF)):
            if mark in seam or mark in piece:
                self.found = name
                return
        self._end = (self._end + piece)[-(_UUID_BYTES - 1) :]
