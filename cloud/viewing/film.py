"""Shows a film from elsewhere in slices of two seconds, each with the names of who is watching burnt in.

The film is read where it lies and decoded as it goes: any container and codec of `KNOWN`, cut anywhere, also between
its key frames. What goes out is what a recording of our own cameras gives: one closed group of pictures (moof + mdat),
behind one initialisation segment. Only the worker's process loads this: the film is a stranger's.
"""

import io
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np

from cloud.viewing.messages import SLICE_S
from cloud.viewing.watermark import FRAGMENTS, Paint, Place, Sink, Sound, draw, split

KNOWN: Final = "mov,matroska,avi,mpegts"
"""Demuxers that may open a film: none of those that read other files or addresses by what a film says."""

MOST_WIDE: Final = 1920
"""Wider pictures are shown smaller: a room is for looking, and the file itself stays as it came."""

_CLOCK: Final = 90_000  # ticks per second of the shown pictures
_COPIED_SOUND: Final = frozenset({"aac", "opus"})  # as it is; other sound (PCM, a stream's AAC) is encoded anew
_READ_BYTES: Final = 256 * 1024
_RATE: Final = 48_000
_RATES: Final = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})  # AAC's own
_SAMPLES: Final = 1024  # of one packet of AAC
_AROUND: Final = 2  # packets on either side of a slice that are encoded and not given out: so that slices join
_BACK: Final = Fraction(1, 100)  # a picture that is this little early belongs to the slice it opens


class Film:
    """One film. `source` returns it as a file, anew each time: pictures and sound are read at places of their own.

    Every method raises av.FFmpegError, ValueError or IndexError for what is not a film that can be shown.
    """

    def __init__(self, source: Callable[[], io.RawIOBase]) -> None:
        self._film = _open(source())
        self._video: Any = self._film.streams.video[0]
        self._video.codec_context.thread_count = 1
        self._heard = _open(source())
        streams = [each for each in self._heard.streams.audio if each.codec_context is not None and each.rate]
        self._copied: Any = next((each for each in streams if _can_be_copied(each)), None)
        self._sound: Any = self._copied or next(iter(streams), None)
        self._wide, self._high = _fitting(self._video.width, self._video.height)
        self._anew: Any = None  # the track that is encoded in the place of a sound that cannot be copied
        self._begin = Fraction(0)
        self._pictures: Iterator[tuple[Fraction, Any]] = iter(())
        self._waiting: tuple[Fraction, Any] | None = None  # decoded, and not shown yet
        self._still: Any = None  # the picture shown last
        self._shown_until: Fraction | None = None
        self._rewind()
        if self._waiting is None:
            raise ValueError("film: expected a picture, got none")
        self._begin += self._waiting[0]
        self._waiting = (Fraction(0), self._waiting[1])
        self.length_s: Fraction = self._measure()
        self.shown_init: bytes = self._introduce()

    @property
    def slices(self) -> int:
        """How many there are; the last may be shorter."""
        return max(1, math.ceil(self.length_s / SLICE_S))

    @property
    def heard(self) -> Any:
        """The codec of its sound as it is played, or None where it has none."""
        return None if self._sound is None else (self._copied or self._anew).codec_context

    def show(self, number: int, *, lines: tuple[str, ...], label: str) -> bytes:
        """Return slice `number`, from 0, with `lines` burnt in and `label` in the corner unless it is empty."""
        return self.redraw(number, lambda pixels, _at_s: draw(pixels, lines, label))

    def pictures(self, number: int) -> Iterator[tuple[Fraction, Any]]:
        """Yield (seconds since the slice's begin, picture), in order and at least one."""
        begin, end = self._stand_before(number)
        for moment, picture in self._between(begin, end):
            self._still = picture
            yield moment - begin, picture
        self._shown_until = end

    def redraw(
        self,
        number: int,
        paint: Paint,
        *,
        sound: Sound = lambda packet, _at_s: packet,
        place: Place = lambda _begin_s: 0.0,
    ) -> bytes:
        """Return slice `number`, from 0, with each picture painted on; `paint` gets its pixels and its second in it.

        `sound` gets each packet of sound with its second, and returns it, another one, or None. `place` gets the
        second at which the slice begins in the film, and returns how much later it is to be played.
        """
        begin = Fraction(number * SLICE_S)
        end = begin + SLICE_S
        after_s = Fraction(place(float(begin))).limit_denominator(_CLOCK)
        sink = Sink()
        with self._muxer(sink) as out:
            shown, heard = self._streams(out)
            packets = self._encode(shown, self.pictures(number), begin, paint)
            starts = [int(packets[0].pts) + round(after_s * _CLOCK), 0]
            found = self._sound_between(begin, end) if self._copied else self._encoded(heard, begin, end)
            out.start_encoding()
            begun = False
            for moment, packet in found:
                kept = sound(packet, float(moment - begin))
                if kept is None:
                    continue
                if not begun:
                    starts[1] = round((moment + after_s) / heard.time_base)
                    begun = True
                kept.stream = heard
                packets.append(kept)
            for packet in packets:
                out.mux(packet)
        return split(bytes(sink.written), starts)[1]

    # --- reading --------------------------------------------------------------------------------------------------

    def _stand_before(self, number: int) -> tuple[Fraction, Fraction]:
        """Return where a slice begins and ends, ready to read its first picture."""
        if not 0 <= number < self.slices:
            raise IndexError(f"film: expected a slice below {self.slices}, got {number}")
        begin = Fraction(number * SLICE_S)
        if self._shown_until != begin:
            self._seek(begin)
        self._shown_until = None  # until the slice was read to its end
        return begin, begin + SLICE_S

    def _rewind(self) -> None:
        self._film.seek(0)
        self._video.codec_context.flush_buffers()
        self._pictures = self._decode()
        self._waiting = next(self._pictures, None)
        self._shown_until = Fraction(0)

    def _seek(self, moment: Fraction) -> None:
        """Stand before the first picture at or after this moment; decodes from the key frame before it."""
        try:
            self._film.seek(int((moment + self._begin) / self._video.time_base), stream=self._video, backward=True)
            self._video.codec_context.flush_buffers()
            self._pictures = self._decode()
            self._waiting = next(self._pictures, None)
        except av.FFmpegError:
            self._rewind()  # a film without an index: from its beginning
        if self._waiting is not None and self._waiting[0] > moment + _BACK:
            self._rewind()  # its index said too much
        while self._waiting is not None and self._waiting[0] < moment - _BACK:
            following = next(self._pictures, None)
            if following is None or following[0] > moment + SLICE_S:
                break  # the last picture before the slice stands still in it
            self._waiting = following

    def _decode(self) -> Iterator[tuple[Fraction, Any]]:
        """Yield (moment, picture); a packet that does not decode is left out, as players do."""
        for packet in self._film.demux(self._video):
            try:
                found: Any = packet.decode()
            except av.FFmpegError:
                continue
            for picture in found:
                if picture.pts is not None:
                    yield picture.pts * picture.time_base - self._begin, picture

    def _between(self, begin: Fraction, end: Fraction) -> Iterator[tuple[Fraction, Any]]:
        """Yield the slice's pictures, at least one: where nothing moved, the one before it."""
        last = None
        while self._waiting is not None and self._waiting[0] < end - _BACK:
            last = self._waiting
            yield max(self._waiting[0], begin), self._waiting[1]
            self._waiting = next(self._pictures, None)
        if last is None:
            if self._still is None:
                raise ValueError("film: expected a picture in this slice, got none")
            yield begin, self._still

    def _sound_between(self, begin: Fraction, end: Fraction) -> Iterator[tuple[Fraction, Any]]:
        sound = self._copied
        try:
            self._heard.seek(int((begin + self._begin) / sound.time_base), stream=sound, backward=True)
            for packet in self._heard.demux(sound):
                if packet.pts is None:
                    continue
                moment = packet.pts * packet.time_base - self._begin
                if moment >= end:
                    return
                if moment >= begin:
                    packet.pts = packet.dts = int(moment / packet.time_base)
                    yield moment, packet
        except av.FFmpegError:
            return  # silence: the pictures go on

    def _encoded(self, heard: Any, begin: Fraction, end: Fraction) -> Iterator[tuple[Fraction, Any]]:
        """Yield its sound as AAC, silent where there is none: a film without sound stands beside others that have some.

        Packets lie on one raster through the whole film, so that slices that are made apart fit together.
        """
        rate, channels = heard.codec_context.sample_rate, len(heard.codec_context.layout.channels)
        first, last = math.ceil(begin * rate / _SAMPLES) - _AROUND, math.ceil(end * rate / _SAMPLES) + _AROUND
        samples = np.zeros((channels, (last - first) * _SAMPLES), np.float32)
        if self._sound is not None:
            for at, made in self._samples_from(first * _SAMPLES, last * _SAMPLES, heard.codec_context):
                here = samples[:, max(0, at) :]
                piece = made[:, max(0, -at) :][:, : here.shape[1]]
                here[:, : piece.shape[1]] = piece
        for number in range(first, last):
            begins = (number - first) * _SAMPLES
            part = np.ascontiguousarray(samples[:, begins : begins + _SAMPLES])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=heard.codec_context.layout.name)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), number * _SAMPLES
            for packet in heard.encode(frame):
                moment = packet.pts * packet.time_base
                if begin <= moment < end:
                    yield moment, packet

    def _samples_from(self, begin: int, end: int, codec: Any) -> Iterator[tuple[int, Any]]:
        """Yield (samples behind `begin`, sound) in the form of `codec`; nothing where it does not decode."""
        rate, sound = codec.sample_rate, self._sound
        into: Any = av.AudioResampler(format="fltp", layout=codec.layout.name, rate=rate)
        try:
            at = Fraction(max(begin, 0), rate) + self._begin
            self._heard.seek(int(at / sound.time_base), stream=sound, backward=True)
            sound.codec_context.flush_buffers()
            for packet in self._heard.demux(sound):
                for frame in _heard_in(packet):
                    for made in into.resample(frame):
                        moment = round((made.pts * made.time_base - self._begin) * rate)
                        if moment >= end:
                            return
                        if moment + made.samples > begin:
                            yield moment - begin, made.to_ndarray()
        except av.FFmpegError:
            return

    def _measure(self) -> Fraction:
        """Return the film's length in seconds: where its last picture ends, whatever its container says."""
        video: Any = self._heard.streams.video[0]
        said = Fraction(self._heard.duration or 0, 1_000_000)
        try:
            self._heard.seek(int((said + self._begin) / video.time_base), stream=video, backward=True)
            end = self._end_of(video)
        except av.FFmpegError:
            end = Fraction(0)
        if not end:
            self._heard.seek(0)
            end = self._end_of(video)
        return end or Fraction(1, 25)

    def _end_of(self, video: Any) -> Fraction:
        end = Fraction(0)
        for packet in self._heard.demux(video):
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base - self._begin)
        return end

    # --- showing --------------------------------------------------------------------------------------------------

    def _encode(self, shown: Any, pictures: Iterator[tuple[Fraction, Any]], begin: Fraction, paint: Paint) -> list[Any]:
        packets: list[Any] = []
        for at_s, picture in pictures:
            pixels = picture.to_ndarray(format="bgr24", width=self._wide, height=self._high)
            paint(pixels, float(at_s))
            drawn = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            drawn.pts, drawn.time_base = round((begin + at_s) * _CLOCK), Fraction(1, _CLOCK)
            packets += shown.encode(drawn)
        packets += shown.encode()
        last = round(min(begin + SLICE_S, max(self.length_s, begin)) * _CLOCK)
        for packet, following in zip(packets, [packet.pts for packet in packets[1:]] + [last], strict=True):
            packet.duration = max(1, following - packet.pts)
        return packets

    def _muxer(self, sink: Sink) -> Any:
        exact = "+negative_cts_offsets"  # or the first packet of sound is stretched to the first picture
        options = {"movflags": FRAGMENTS + exact, "video_track_timescale": str(_CLOCK)}
        return av.open(sink, "w", format="mp4", options=options)

    def _streams(self, out: Any) -> tuple[Any, Any]:
        """Add the tracks: the same for every slice, or the initialisation segment would not fit."""
        shown = out.add_stream("libx264", rate=30)
        shown.width, shown.height, shown.pix_fmt = self._wide, self._high, "yuv420p"
        shown.time_base = shown.codec_context.time_base = Fraction(1, _CLOCK)
        shown.codec_context.gop_size = 1_000_000  # one key frame: the first
        shown.codec_context.thread_count = 1
        shown.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "25", "bf": "0"}
        if self._copied is not None:
            return shown, out.add_stream_from_template(self._copied)
        rate, layout = _played_as(self._sound)
        self._anew = out.add_stream("aac", rate=rate, layout=layout)  # players stall where sound begins or ends
        return shown, self._anew

    def _introduce(self) -> bytes:
        sink = Sink()
        with self._muxer(sink) as out:
            self._streams(out)
            out.start_encoding()
        return split(bytes(sink.written), [])[0]


def _open(source: io.RawIOBase) -> Any:
    return av.open(source, "r", buffer_size=_READ_BYTES, options={"format_whitelist": KNOWN})


def _heard_in(packet: Any) -> list[Any]:
    try:
        return [frame for frame in packet.decode() if frame.pts is not None]
    except av.FFmpegError:
        return []  # left out, as players do


def _played_as(sound: Any) -> tuple[int, str]:
    """Return (rate, layout) of the AAC that is made of this sound, or of none."""
    if sound is None:
        return _RATE, "mono"
    rate = sound.rate if sound.rate in _RATES else _RATE
    return rate, "mono" if sound.codec_context.channels == 1 else "stereo"


def _can_be_copied(sound: Any) -> bool:
    """Whether the sound fits into an MP4 as it is: a transport stream's AAC says its parameters elsewhere."""
    return sound.codec.name in _COPIED_SOUND and bool(sound.codec_context.extradata)


def _fitting(wide: int, high: int) -> tuple[int, int]:
    """Return an even size of the same shape, at most MOST_WIDE wide."""
    if not (wide > 0 and high > 0):
        raise ValueError(f"film: expected pictures with a size, got {wide} x {high}")
    smaller = min(Fraction(1), Fraction(MOST_WIDE, wide))
    return max(2, int(wide * smaller) // 2 * 2), max(2, int(high * smaller) // 2 * 2)
