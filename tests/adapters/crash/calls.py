"""Every durable system call of a process, counted over all its threads, stopped at the n-th: killed there, or failed.

A seccomp filter hands each of these calls to us before the kernel does it (SECCOMP_RET_USER_NOTIF); we let it through,
answer it with an error of the disk, or kill the process. strace can do as much, but counts per thread. Linux on x86_64
only; `watched` raises NoTrap elsewhere, for a test to skip with.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

_OF_FILE: Final = {1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev", 77: "ftruncate"}
_SYNC: Final = {74: "fsync", 75: "fdatasync", 306: "syncfs"}
_PATHS: Final = {  # name, and the places of its paths among the arguments
    82: ("rename", (0, 1)),
    264: ("renameat", (1, 3)),
    316: ("renameat2", (1, 3)),
    86: ("link", (0, 1)),
    265: ("linkat", (1, 3)),
    87: ("unlink", (0,)),
    263: ("unlinkat", (1,)),
    83: ("mkdir", (0,)),
    258: ("mkdirat", (1,)),
    84: ("rmdir", (0,)),
    88: ("symlink", (1,)),
    266: ("symlinkat", (2,)),
}
_LINE: Final = {44: "sendto", 46: "sendmsg", 43: "accept", 288: "accept4"}
_OPENAT: Final = 257
_CREAT: Final = 0o100
_WAKE_UP_BYTES: Final = 1  # what an event loop writes to itself to wake up

_ALLOW, _NOTIFY, _X86_64 = 0x7FFF0000, 0x7FC00000, 0xC000003E
_NO_NEW_PRIVS, _SECCOMP, _FILTER, _NEW_LISTENER = 38, 317, 1, 8
_DIE_WITH_PARENT: Final = 1
_RECEIVE, _SEND, _GO_ON = 0xC0502100, 0xC0182101, 1
_NOTICE: Final = struct.Struct("=QIIiIQ6Q")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class NoTrap(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """System calls cannot be stopped here; it says why."""


@dataclass(frozen=True)
class Call:
    """One durable call: its name, and the file it is about as far as that can be said."""

    name: str
    about: str

    @property
    def of_disk(self) -> bool:
        return self.name not in {*_LINE.values(), "write to line"}


Fault = int | None
"""What happens at the chosen call: an errno, or None: the process is killed there, before the call is done."""


@dataclass
class Trap:
    """One process's calls. `fd` becomes readable when one waits; `answer` it then."""

    fd: int
    root: str
    process: int
    at: int | None
    fault: Fault = None
    lasts: int = 1
    seen: int = 0
    stopped_at: list[Call] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def answer(self) -> None:
        """Let the call that waits go on, or fail it, or kill the process there."""
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self.fd, _RECEIVE, notice)
        except OSError:
            return  # the caller is gone
        call_id, thread, _, number, _, _, *arguments = _NOTICE.unpack(notice)
        call = _read(thread, number, arguments, self.root)
        error = 0
        if call is not None and (self.fault is None or call.of_disk):
            self.seen += 1
            self.calls.append(call)
            if self.at is not None and self.at <= self.seen < self.at + self.lasts:
                self.stopped_at.append(call)
                if self.fault is None:
                    os.kill(self.process, signal.SIGKILL)
                    return
                error = -self.fault
        with suppress(OSError):  # the caller was killed meanwhile
            fcntl.ioctl(self.fd, _SEND, struct.pack("=QqiI", call_id, 0, error, 0 if error else _GO_ON))

    def close(self) -> None:
        os.close(self.fd)


def watched(
    work: Callable[[], None], *, root: Path, at: int | None, fault: Fault = None, lasts: int = 1
) -> tuple[int, Trap]:
    """Fork, and let the child do `work` with its calls below `root` and to its line watched. Return (child, trap)."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise NoTrap(f"seccomp is only spoken for Linux on x86_64, not {platform.system()} {platform.machine()}")
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _install(theirs)
        end_with(work)
    theirs.close()
    with ours:
        said, descriptors, _, _ = socket.recv_fds(ours, 100, 1)
    if not descriptors:
        os.waitpid(child, 0)
        raise NoTrap(said.decode() or "the filter could not be installed")
    return child, Trap(descriptors[0], str(root), child, at, fault, lasts)


def end_with(work: Callable[[], None]) -> NoReturn:
    """Do `work`, and end this process: with 1 and the story when it raises."""
    code = 1
    _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)


def serve(traps: list[Trap], *, within_s: float) -> None:
    """Answer what waits; return when nothing came for `within_s`, or a process ended."""
    waiting = select.poll()
    for trap in traps:
        waiting.register(trap.fd, select.POLLIN)
    by_fd = {trap.fd: trap for trap in traps}
    while events := waiting.poll(within_s * 1000):
        for fd, event in events:
            if event & select.POLLIN:
                by_fd[fd].answer()
            elif event & (select.POLLHUP | select.POLLERR):
                return


# --- in the child ---------------------------------------------------------------------------------------------------


def _install(to_parent: socket.socket) -> None:
    """Filter this thread and all that come after it; another thread, not filtered, hands over the listener."""
    installed, listener, why = threading.Event(), [-1], [""]

    def hand_over() -> None:
        installed.wait()
        if listener[0] >= 0:
            socket.send_fds(to_parent, [b"here"], [listener[0]])
            os.close(listener[0])
        else:
            to_parent.send(why[0].encode())
        to_parent.close()

    postman = threading.Thread(target=hand_over)
    postman.start()
    program = _program()
    code = ctypes.create_string_buffer(b"".join(program))
    described = struct.pack("@HP", len(program), ctypes.addressof(code))
    _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener[0] = _LIBC.syscall(_SECCOMP, _FILTER, _NEW_LISTENER, ctypes.create_string_buffer(described))
    if listener[0] < 0:
        why[0] = f"seccomp: {os.strerror(ctypes.get_errno())}"
    installed.set()
    postman.join()
    if listener[0] < 0:
        os._exit(1)


def _program() -> list[bytes]:
    """BPF: our calls to the listener, files only when they are made, all else allowed."""
    numbers = [*_OF_FILE, *_SYNC, *_PATHS, *_LINE]
    load, jump_if_equal, jump_if_bits, answer = 0x20, 0x15, 0x45, 0x06

    def line(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    notify = 5 + len(numbers) + 2  # where the answers stand
    body = [
        line(load, 0, 0, 4),
        line(jump_if_equal, 0, notify - 3, _X86_64),
        line(load, 0, 0, 0),
        line(jump_if_equal, len(numbers) + 1, 0, _OPENAT),
        *(line(jump_if_equal, notify - (4 + place) - 1, 0, number) for place, number in enumerate(numbers)),
        line(answer, 0, 0, _ALLOW),
        line(load, 0, 0, 32),  # the low half of openat's flags
        line(jump_if_bits, 0, 1, _CREAT),
        line(answer, 0, 0, _NOTIFY),
        line(answer, 0, 0, _ALLOW),
    ]
    assert len(body) == notify + 2
    return body


# --- what a call is -------------------------------------------------------------------------------------------------


def _read(thread: int, number: int, arguments: list[int], root: str) -> Call | None:
    """Return what call this is; None for one that changes nothing of ours."""
    if number in _LINE:
        if _LINE[number] == "sendto" and arguments[2] <= _WAKE_UP_BYTES:
            return None
        return Call(_LINE[number], "line")
    if number in _OF_FILE or number in _SYNC:
        name = _OF_FILE.get(number) or _SYNC[number]
        with suppress(OSError):
            path = str(Path(f"/proc/{thread}/fd/{arguments[0]}").readlink())
            if path.startswith(root):
                return Call(name, path.removeprefix(root))
            if path.startswith("socket:") and arguments[2] > _WAKE_UP_BYTES:
                return Call(f"{name} to line", "line")
        return None
    name, places = ("create", (1,)) if number == _OPENAT else _PATHS[number]
    paths = [_text(thread, arguments[place]) for place in places]
    if not any(path.startswith(root) for path in paths):
        return None
    return Call(name, " -> ".join(path.removeprefix(root) for path in paths))


def _text(thread: int, address: int) -> str:
    """Return the path at this address of the caller, whole or up to the end of its page."""
    try:
        with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            raw = memory.read(min(4096 - address % 4096 + 4096, 4096))
    except OSError:
        return ""
    return raw.split(b"\0", 1)[0].decode(errors="replace")


DISK_FULL: Final = errno.ENOSPC
DISK_SICK: Final = errno.EIO
