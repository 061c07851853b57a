"""The playlist of one recording (RFC 8216): what there is, when it was filmed, and where it breaks."""

import math

from cloud.viewing.rooms import Reel


def playlist(reel: Reel) -> str:
    """Return the playlist; addresses are relative, so that they die with the room's own."""
    longest = max(1, math.ceil(max(piece.length_s for piece in reel.pieces)))
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{longest}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init.mp4"',
    ]
    for piece in reel.pieces:
        if piece.gap_before and piece is not reel.pieces[0]:
            lines.append("#EXT-X-DISCONTINUITY")
        moment = piece.starts_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines += [
            f"#EXT-X-PROGRAM-DATE-TIME:{moment}",
            f"#EXTINF:{piece.length_s:.5f},",
            f"{piece.sequence}.m4s",
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])
