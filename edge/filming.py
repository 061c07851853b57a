"""Draws a street or reads a film, and encodes it as one-second fragments. Only this file needs OpenCV and PyAV.

H.264 (closed groups of one second, no B-frames) and, where asked, AAC, in fragmented MP4. Runs as a process of its own
(``python -m edge.filming FOLDER --silent [--film FILE]``), so that the process that records never loads either library.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from edge.footage import FPS, HEIGHT, SEI_MARK, SEI_TEXT_BYTES, WIDTH, FootageProblem, write_loops

Picture = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

LOOP_S: Final = 16
"""Length of a drawn loop. A multiple of 8 s: only that holds a whole number of AAC frames (1024 samples, 48 kHz)."""

STREETS: Final = 3
"""Drawn loops; fifty cameras share them and start at different seconds."""

LONGEST_FILM_S: Final = 64
"""Of a film no more than this is used: it is a simulation's scenery, and lives in memory."""

SOUND_HZ: Final = 48_000
_AAC_FRAME: Final = 1024


# --- encoding ---------------------------------------------------------------------------------------------------


class _Sink:
    """Takes what the muxer writes. Without seek and tell it writes a pure stream: one moof + mdat per key frame."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        """Keep it."""
        self.written += data
        return len(data)


_MUXING: Final = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


def encode(pictures: Iterable[Picture], sound: Samples | None = None) -> tuple[bytes, list[bytes]]:
    """Return (initialisation segment, one fragment per second) of BGR pictures at FPS and mono samples at SOUND_HZ."""
    sink = _Sink()
    with av.open(sink, "w", format="mp4", options=_MUXING) as out:
        video = _video_stream(out)
        voice = None if sound is None else out.add_stream("aac", rate=SOUND_HZ, layout="mono")
        out.start_encoding()
        heard = deque([] if sound is None or voice is None else _sound_packets(voice, sound))
        for packet in _video_packets(video, pictures):
            while heard and heard[0].pts * heard[0].time_base < packet.pts * packet.time_base:
                out.mux(heard.popleft())
            out.mux(packet)
        for packet in heard:
            out.mux(packet)
    return split(bytes(sink.written))


def encode_live(pictures: Iterable[Picture]) -> Iterator[bytes]:
    """Yield the initialisation segment and then each second, as soon as it is there."""
    sink, said_init = _Sink(), False
    with av.open(sink, "w", format="mp4", options=_MUXING) as out:
        video = _video_stream(out, tune="zerolatency")
        out.start_encoding()
        for packet in _video_packets(video, pictures):
            out.mux(packet)
            init, fragments = split(bytes(sink.written))
            if init and not said_init:
                yield init
                said_init = True
            yield from fragments
            if init or fragments:
                sink.written.clear()


def _video_stream(out: Any, **more: str) -> Any:
    video = out.add_stream("libx264", rate=FPS)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video.codec_context.gop_size = FPS
    video.options = {
        "preset": "veryfast",
        "crf": "27",
        "bf": "0",
        "x264-params": f"keyint={FPS}:min-keyint={FPS}:scenecut=0:open-gop=0",
        **more,
    }
    return video


def _video_packets(video: Any, pictures: Iterable[Picture]) -> Iterator[Any]:
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        for packet in video.encode(frame):
            yield _with_text(packet, video)
    for packet in video.encode():
        yield _with_text(packet, video)


def _with_text(packet: Any, video: Any) -> Any:
    """Put our SEI message before a key frame; its text is overwritten later, per camera."""
    packet.duration = int(1 / FPS / packet.time_base)
    if not packet.is_keyframe:
        return packet
    marked = av.Packet(_text_unit() + bytes(packet))
    marked.pts, marked.dts, marked.time_base = packet.pts, packet.dts, packet.time_base
    marked.duration, marked.is_keyframe, marked.stream = packet.duration, True, video
    return marked


def _text_unit() -> bytes:
    """Return the SEI unit (type 6, payload 5: user data, unregistered) in Annex B form."""
    body = SEI_MARK + b"." * SEI_TEXT_BYTES
    size = b"\xff" * (len(body) // 255) + bytes([len(body) % 255])
    return b"\0\0\0\1\x06\x05" + size + body + b"\x80"


def _sound_packets(voice: Any, sound: Samples) -> Iterator[Any]:
    """The encoder's priming packet (before time 0) is left out: the muxer would shift the picture by 21 ms."""
    for begin in range(0, len(sound) - _AAC_FRAME + 1, _AAC_FRAME):
        frame = av.AudioFrame.from_ndarray(sound[None, begin : begin + _AAC_FRAME], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, begin, Fraction(1, SOUND_HZ)
        yield from (packet for packet in voice.encode(frame) if packet.pts >= 0)
    yield from (packet for packet in voice.encode() if 0 <= packet.pts < len(sound))


def split(stream: bytes) -> tuple[bytes, list[bytes]]:
    """Return the initialisation segment and the fragments of a fragmented MP4."""
    init, fragments, at = b"", list[bytes](), 0
    while at + 8 <= len(stream):
        size, kind = int.from_bytes(stream[at : at + 4], "big"), stream[at + 4 : at + 8]
        box = stream[at : at + size]
        if kind in (b"ftyp", b"moov"):
            init += box
        elif kind == b"moof":
            fragments.append(box)
        elif kind == b"mdat":
            fragments[-1] += box
        at += size
    return init, fragments


# --- a film that exists -----------------------------------------------------------------------------------------


def film_loop(path: Path, *, sound: bool) -> tuple[bytes, list[bytes]]:
    """Return the film as a loop of whole seconds; raise FootageProblem where it cannot be read."""
    voice = _film_sound(path) if sound else None
    found = sum(1 for _ in islice(_film_pictures(path), LONGEST_FILM_S * FPS))
    if found == 0:
        raise FootageProblem(f"--footage {path}: no picture in it can be read; give another video file")
    seconds = loop_seconds(found / FPS, sound=voice is not None)
    pictures = islice(cycle_film(path), seconds * FPS)
    return encode(pictures, None if voice is None else np.resize(voice, seconds * SOUND_HZ))


def loop_seconds(film_s: float, *, sound: bool) -> int:
    """Return how long a loop of this film is: whole seconds, whole AAC frames with sound, at most LONGEST_FILM_S."""
    unit = 8 if sound else 1
    return max(unit, int(min(film_s, LONGEST_FILM_S)) // unit * unit)


def cycle_film(path: Path) -> Iterator[Picture]:
    """Yield the film's pictures, from the start again when it ends."""
    while True:
        yield from _film_pictures(path)


def _film_pictures(path: Path) -> Iterator[Picture]:
    """Yield pictures at FPS, letterboxed to our size and marked as a simulation."""
    shown, began = 0, None
    for frame in _decoded(path, "video"):
        began = float(frame.time or 0.0) if began is None else began
        at = float(frame.time or 0.0) - began
        picture = None
        while shown / FPS <= at + 0.5 / FPS:
            picture = mark(_fit(frame.to_ndarray(format="bgr24"))) if picture is None else picture
            yield picture
            shown += 1


def _film_sound(path: Path) -> Samples | None:
    """Return the film's sound as mono samples, or None where it has none."""
    heard: list[Samples] = []
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SOUND_HZ)
    for frame in _decoded(path, "audio"):
        heard.extend(part.to_ndarray()[0] for part in resampler.resample(frame))
    return np.concatenate(heard).astype(np.float32) if heard else None


def _decoded(path: Path, kind: str) -> Iterator[Any]:
    """Yield what can be decoded; a film that breaks off gives what came before."""
    try:
        with av.open(str(path)) as film:
            streams = [stream for stream in film.streams if stream.type == kind]
            if not streams:
                return
            yield from film.decode(streams[0])
    except av.error.FFmpegError as cause:
        raise FootageProblem(f"--footage {path}: it cannot be read as video ({cause.strerror})") from cause


def _fit(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    top, left = (HEIGHT - small.shape[0]) // 2, (WIDTH - small.shape[1]) // 2
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return out


def mark(picture: Picture) -> Picture:
    """Write in the picture that it is a simulation."""
    cv2.rectangle(picture, (6, HEIGHT - 32), (122, HEIGHT - 6), (30, 30, 30), -1)
    cv2.putText(picture, "SIMULATIE", (12, HEIGHT - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


# --- a webcam ---------------------------------------------------------------------------------------------------


def webcam_pictures(webcam: str, *, monotonic: Callable[[], float]) -> Iterator[Picture]:
    """Yield what a webcam sees, at FPS by `monotonic`; raise FootageProblem when it cannot be opened."""
    eye = cv2.VideoCapture(int(webcam) if webcam.isdigit() else webcam)
    try:
        if not eye.isOpened():
            raise FootageProblem(
                f"--footage webcam:{webcam}: there is no such webcam; give a video file or leave it out"
            )
        began, shown = monotonic(), 0
        while True:
            seen, picture = eye.read()
            if not seen:
                return
            due = int((monotonic() - began) * FPS)
            while shown <= due:
                yield mark(_fit(np.asarray(picture, np.uint8)))
                shown += 1
    finally:
        eye.release()


def _look(webcam: str) -> int:
    """Write each piece to standard output, its length before it (4 bytes), for as long as somebody reads."""
    for piece in encode_live(webcam_pictures(webcam, monotonic=time.monotonic)):
        sys.stdout.buffer.write(len(piece).to_bytes(4, "big") + piece)
        sys.stdout.buffer.flush()
    return 0


# --- a street that is drawn -------------------------------------------------------------------------------------

_STREET_WIDTH: Final = 1280
_BRICKS: Final = ((74, 92, 150), (92, 120, 168), (60, 74, 120), (110, 128, 150), (84, 84, 110), (120, 140, 176))
_COATS: Final = ((40, 60, 160), (150, 80, 40), (60, 120, 60), (50, 50, 50), (30, 120, 190), (140, 60, 120))


def street_loop(number: int, *, sound: bool) -> tuple[bytes, list[bytes]]:
    """Return drawn street `number`: the same number always gives the same street."""
    chance = np.random.default_rng(1_000 + number)
    return encode(_street_pictures(chance), _street_sound(chance) if sound else None)


def _street_pictures(chance: np.random.Generator) -> Iterator[Picture]:
    """Yield one loop; every movement comes round in LOOP_S, so that the joint does not show."""
    background = _facades(chance)
    people = [_Walker(chance, far=far) for far in (0.55, 0.6, 0.72, 0.8, 1.0, 1.15)]
    left = int(chance.integers(0, _STREET_WIDTH))
    for number in range(LOOP_S * FPS):
        turn = number / (LOOP_S * FPS)
        street = background.copy()
        _clock(street, turn)
        for person in people:
            person.draw(street, turn)
        step = 2 * np.pi * turn * LOOP_S
        view = np.roll(street, -(left + int(60 * np.sin(2 * np.pi * turn))), axis=1)[:, :WIDTH]
        tilt = np.array([[1, 0.01 * np.sin(step / 2), 4 * np.sin(step / 2)], [0, 1, 5 * np.sin(step) - 10]], np.float32)
        seen = cv2.warpAffine(view, tilt, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        noise = chance.integers(-3, 4, (HEIGHT // 2, WIDTH // 2, 1), dtype=np.int16).repeat(2, 0).repeat(2, 1)
        yield mark(np.clip(seen.astype(np.int16) + noise, 0, 255).astype(np.uint8))


def _facades(chance: np.random.Generator) -> Picture:
    """Draw sky, a row of gabled houses, the pavement and the road."""
    street = np.zeros((HEIGHT + 20, _STREET_WIDTH, 3), np.uint8)
    for row in range(200):
        street[row] = (225 - row // 4, 205 - row // 5, 180 - row // 4)
    street[200:270] = (140, 146, 150)
    street[270:] = (84, 86, 88)
    for begin in range(0, _STREET_WIDTH, 40):
        cv2.line(street, (begin, 205), (begin - 30, 268), (120, 126, 130), 1)
        cv2.rectangle(street, (begin, 318), (begin + 18, 322), (200, 205, 205), -1)
    for begin in range(0, _STREET_WIDTH, 128):
        _house(street, begin, chance)
    for at in range(60, _STREET_WIDTH, 320):
        cv2.line(street, (at, 120), (at, 262), (50, 56, 50), 4)
        cv2.circle(street, (at, 116), 7, (170, 220, 240), -1, cv2.LINE_AA)
    return street


def _house(street: Picture, left: int, chance: np.random.Generator) -> None:
    brick = _BRICKS[int(chance.integers(len(_BRICKS)))]
    roof = int(chance.integers(30, 70))
    right, middle = left + 124, left + 62
    cv2.rectangle(street, (left, roof + 40), (right, 212), brick, -1)
    if chance.random() < 0.5:  # a stepped gable
        for stair in range(5):
            cv2.rectangle(
                street, (left + 12 * stair, roof + 32 - 8 * stair), (right - 12 * stair, roof + 42), brick, -1
            )
    else:
        cv2.fillPoly(
            street, [np.array([(left, roof + 40), (middle, roof - 4), (right, roof + 40)])], brick, cv2.LINE_AA
        )
    for floor in range(2):
        for window in range(3):
            x, y = left + 14 + 36 * window, roof + 52 + 44 * floor
            glass = (150, 190, 210) if chance.random() < 0.3 else (96, 84, 66)
            cv2.rectangle(street, (x, y), (x + 22, y + 30), (235, 240, 240), -1)
            cv2.rectangle(street, (x + 3, y + 3), (x + 19, y + 27), glass, -1)
            cv2.line(street, (x + 11, y + 3), (x + 11, y + 27), (235, 240, 240), 2)
    door = int(chance.integers(left + 12, right - 36))
    cv2.rectangle(street, (door, 160), (door + 24, 212), (60, 60 + int(chance.integers(60)), 40), -1)


def _clock(street: Picture, turn: float) -> None:
    """Draw a station clock whose hand goes round once per loop: in the picture one sees that time runs."""
    for at in (330, 970):
        cv2.line(street, (at, 60), (at, 150), (40, 44, 40), 5)
        cv2.circle(street, (at, 60), 26, (40, 44, 40), -1, cv2.LINE_AA)
        cv2.circle(street, (at, 60), 22, (245, 248, 248), -1, cv2.LINE_AA)
        for hour in range(12):
            angle = hour * np.pi / 6
            edge = (at + int(19 * np.sin(angle)), 60 - int(19 * np.cos(angle)))
            cv2.circle(street, edge, 1, (30, 30, 30), -1)
        hand = (at + int(17 * np.sin(2 * np.pi * turn)), 60 - int(17 * np.cos(2 * np.pi * turn)))
        cv2.line(street, (at, 60), hand, (20, 20, 200), 2, cv2.LINE_AA)
        cv2.line(street, (at, 60), (at + 8, 52), (20, 20, 20), 3, cv2.LINE_AA)


class _Walker:
    """Somebody in the street, crossing it once or twice per loop."""

    def __init__(self, chance: np.random.Generator, *, far: float) -> None:
        self._far = far
        self._from = float(chance.uniform(0, _STREET_WIDTH))
        self._rounds = float(chance.choice((-1, 1)))
        self._coat = _COATS[int(chance.integers(len(_COATS)))]
        self._bike = bool(far > 0.9)

    def draw(self, street: Picture, turn: float) -> None:
        x = int(self._from + self._rounds * _STREET_WIDTH * turn) % _STREET_WIDTH
        ground = int(200 + 75 * self._far)
        height = int(78 * self._far)
        swing = np.sin(2 * np.pi * turn * LOOP_S * 2) * height * 0.16
        for leg in (-1, 1):
            foot = (int(x + leg * swing), ground)
            cv2.line(street, (x, ground - height // 2), foot, (40, 36, 34), max(3, height // 11), cv2.LINE_AA)
        body = (x, ground - int(height * 0.62))
        cv2.ellipse(street, body, (height // 7, int(height * 0.24)), 0, 0, 360, self._coat, -1, cv2.LINE_AA)
        cv2.circle(street, (x, ground - int(height * 0.93)), max(3, height // 10), (150, 175, 215), -1, cv2.LINE_AA)
        if self._bike:
            for wheel in (-1, 1):
                hub = (x + wheel * height // 3, ground - height // 10)
                cv2.circle(street, hub, height // 5, (30, 30, 30), 2, cv2.LINE_AA)
            cv2.line(
                street,
                (x - height // 3, ground - height // 10),
                (x, ground - height // 2),
                (30, 30, 160),
                2,
                cv2.LINE_AA,
            )


def _street_sound(chance: np.random.Generator) -> Samples:
    """Return traffic far away and two footsteps a second: plain enough to be known as made up."""
    count = LOOP_S * SOUND_HZ
    hum = np.convolve(chance.standard_normal(count + 799), np.ones(800) / 800, mode="valid")
    steps = np.zeros(count)
    tap = np.exp(-np.arange(2_400) / 300) * np.sin(np.arange(2_400) * 0.06)
    for at in range(0, count - len(tap), SOUND_HZ // 2):
        steps[at : at + len(tap)] += 0.2 * tap
    heard: Samples = np.clip(hum + steps, -0.9, 0.9).astype(np.float32)
    return heard


def main(argv: list[str] | None = None) -> int:
    """Encode a library into a folder; say in one sentence what is wrong when it cannot be done."""
    words = argparse.ArgumentParser(prog="python -m edge.filming", description=main.__doc__)
    words.add_argument("folder", type=Path, nargs="?")
    words.add_argument("--film", type=Path)
    words.add_argument("--webcam", help="look through this webcam instead, and write to standard output")
    wanted = words.add_mutually_exclusive_group()
    wanted.add_argument("--sound", action="store_true")
    wanted.add_argument("--silent", action="store_true")
    said = words.parse_args(argv)
    if said.folder is None and said.webcam is None:
        words.error("give a folder to write to, or --webcam")
    cv2.setNumThreads(1)
    try:
        if said.webcam is not None:
            return _look(said.webcam)
        if said.film is not None:
            loops = [film_loop(said.film, sound=said.sound)]
        else:
            loops = [street_loop(number, sound=said.sound) for number in range(STREETS)]
    except FootageProblem as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    write_loops(said.folder, loops, source=str(said.film or "street"), sound=said.sound)
    return 0


if __name__ == "__main__":
    sys.exit(main())
