"""The playlist of one recording (RFC 8216): what there is, when it was filmed, and where it breaks."""

import math

from cloud.viewing.clips import CLIP_STEP
from cloud.viewing.reels import Reel


def playlist(reel: Reel) -> str:
    """Return the playlist; addresses are relative, so that they die with the room's own."""
    films = bool(reel.films)
    longest = max(1, math.ceil(max(piece.length_s for piece in reel.pieces)))
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{longest}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        *(() if films else ('#EXT-X-MAP:URI="init.mp4"',)),
    ]
    film = None
    for piece in reel.pieces:
        if piece.gap_before and piece is not reel.pieces[0]:
            lines.append("#EXT-X-DISCONTINUITY")
        if films and piece.film != film:  # each film from outside begins in its own way
            film = piece.film
            lines.append(f'#EXT-X-MAP:URI="{film * CLIP_STEP}.m4s"')
        moment = piece.starts_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines += [
            f"#EXT-X-PROGRAM-DATE-TIME:{moment}",
            f"#EXTINF:{piece.length_s:.5f},",
            f"{piece.sequence}.m4s",
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])
