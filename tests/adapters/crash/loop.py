"""A real file system in an image, on a loop device: one that can be shut down as if the power went.

Needs root and loop devices. `loop_disk` says by NoLoop why it cannot be had, for a test to skip with.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SHUTDOWN: Final = 0x8004587D  # _IOR('X', 125, __u32): XFS_IOC_GOINGDOWN, and EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH: Final = 2  # nothing more reaches the disk, not even the journal in memory

_HOW_TO_FORMAT: Final = {"ext4": ("-F", "-E", "nodiscard"), "xfs": ("-f", "-K")}
"""Over what is there, and without punching holes into the image."""


class NoLoop(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """There can be no loop device here; it says why."""


@dataclass(frozen=True)
class LoopDisk:
    """A mounted file system of its own."""

    mount: Path
    device: str
    kind: str

    def cut_the_power(self) -> None:
        """Shut the file system down without writing anything more: from now on every call on it fails."""
        fd = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def power_on_again(self) -> None:
        """Mount it anew, as a machine does when it starts: the journal is replayed."""
        _run("umount", str(self.mount))
        _run("mount", self.device, str(self.mount))


@contextmanager
def loop_disk(folder: Path, *, megabytes: int, kind: str = "ext4", written: bool = False) -> Iterator[LoopDisk]:
    """Make an image in `folder`, format it (ext4 or xfs), mount it. Raise NoLoop where that is not possible.

    `written`: every block has been written once. A real disk has no holes; an image with holes makes whoever syncs
    often wait for the file system below, which finds room for each block.
    """
    if os.geteuid() != 0:
        raise NoLoop("loop devices need root")
    for tool in ("losetup", f"mkfs.{kind}"):
        if shutil.which(tool) is None:
            raise NoLoop(f"{tool} is not installed")
    image, mount = folder / f"{kind}.img", folder / f"{kind}"
    mount.mkdir()
    with image.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, megabytes * 1024 * 1024)
    if written:
        blocks = ("bs=4M", f"count={megabytes // 4}", "oflag=direct", "conv=notrunc")
        _run("dd", "if=/dev/zero", f"of={image}", *blocks, within_s=900)
    device = _attach(image)
    try:
        _run(f"mkfs.{kind}", "-q", *_HOW_TO_FORMAT[kind], device)
        _run("mount", device, str(mount))
        try:
            yield LoopDisk(mount, device, kind)
        finally:
            _run("umount", "-l", str(mount))
    finally:
        with suppress(NoLoop):
            _run("losetup", "-d", device)
        image.unlink()


def _attach(image: Path) -> str:
    try:
        return _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
    except NoLoop:
        return _run("losetup", "--find", "--show", str(image)).strip()  # where the disk below takes no direct writes


def _run(*command: str, within_s: float = 60) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=within_s).stdout
    except (OSError, subprocess.SubprocessError) as cause:
        raise NoLoop(f"{command[0]}: {getattr(cause, 'stderr', '') or cause}".strip()) from cause
