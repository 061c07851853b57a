"""What a program did to its files, by strace; and, by what it wrote to its standard output, when it said so."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.adapters.crash.disk import Disk

CALLS = (
    "openat,open,creat,close,write,pwrite64,writev,lseek,ftruncate,fsync,fdatasync,syncfs,"
    "rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,rmdir,dup,dup2,dup3"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_HEX = re.compile(r"\\x([0-9a-f]{2})")


def record(command: list[str], *, into: Path) -> list[str]:
    """Run a writer under strace; return its calls, in order. Raise CalledProcessError when it fails."""
    log = into / "strace.log"
    subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-xx", "-s", "10000000", "-e", f"trace={CALLS}", "-o", str(log), *command],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=600,
    )
    lines, waiting = [], dict[str, str]()
    for line in log.read_text().splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            waiting[pid] = line.removesuffix(" <unfinished ...>")
        elif (resumed := re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)$", line)) is not None:
            lines.append(waiting.pop(pid) + resumed[1])
        else:
            lines.append(line)
    return lines


def replay(lines: list[str], *, root: Path, before: dict[str, bytes | None]) -> Iterator[tuple[Disk, int]]:
    """Do it all again on a forgetful disk; yield (disk, acknowledged so far) at the start and after every change.

    `before` is what lay below `root` already: content by path, None for a folder.
    """
    disk = Disk()
    for path in sorted(before):
        disk.existing(path, before[path])
    player, acknowledged = _Player(disk, str(root) + "/"), 0
    yield disk, acknowledged
    for line in lines:
        found = _LINE.match(line)
        if found is None or int(found[4]) < 0:
            continue
        name, arguments, result = found[2], found[3].split(", "), int(found[4])
        if name == "write" and arguments[0] == "1":
            acknowledged += result
            yield disk, acknowledged
        elif player.play(name, arguments, result):
            yield disk, acknowledged


class _Player:
    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._root = root
        self._open: dict[int, int] = {}
        self._at: dict[int, int] = {}

    def play(self, name: str, arguments: list[str], result: int) -> bool:
        """Do one call; return whether the disk is another one now."""
        disk = self._disk
        match name:
            case "open" | "openat" | "creat":
                return self._opened(
                    arguments[-3:] if name == "openat" and "O_CREAT" in arguments[-2] else arguments, result
                )
            case "close":
                self._open.pop(int(arguments[0]), None)
                return False
            case "write" | "pwrite64":
                fd = int(arguments[0])
                if fd not in self._open:
                    return False
                offset = int(arguments[3]) if name == "pwrite64" else self._at[fd]
                disk.write(self._open[fd], offset, _text(arguments[1])[:result])
                if name == "write":
                    self._at[fd] = offset + result
                return True
            case "lseek":
                if int(arguments[0]) in self._open:
                    self._at[int(arguments[0])] = result
                return False
            case "ftruncate":
                if (node := self._open.get(int(arguments[0]))) is not None:
                    disk.truncate(node, int(arguments[1]))
                    return True
                return False
            case "fsync" | "fdatasync":
                if (node := self._open.get(int(arguments[0]))) is not None:
                    disk.sync(node)
                    return True
                return False
            case "syncfs":
                disk.sync_everything()
                return True
            case "writev" | "dup" | "dup2" | "dup3":
                assert int(arguments[0]) not in self._open, f"{name}: not modelled"
                return False
            case _:
                return self._named(name, [path for path in map(self._inside, arguments) if path is not None])

    def _named(self, name: str, paths: list[str]) -> bool:
        if not paths:
            return False
        match name:
            case "rename" | "renameat" | "renameat2":
                self._disk.rename(*paths)
            case "link" | "linkat":
                self._disk.link(*paths)
            case "mkdir" | "mkdirat":
                self._disk.make_folder(*paths)
            case _:
                self._disk.unlink(*paths)
        return True

    def _opened(self, arguments: list[str], fd: int) -> bool:
        path = next((found for found in map(self._inside, arguments) if found is not None), None)
        if path is None:
            return False
        flags = next(each for each in arguments if each.startswith("O_"))
        node, changed = self._disk.find(path), False
        if node is None:
            node, changed = self._disk.create(path), True
        elif "O_TRUNC" in flags and self._disk.files[node].live:
            self._disk.truncate(node, 0)
            changed = True
        self._open[fd] = node
        self._at[fd] = len(self._disk.files[node].live) if "O_APPEND" in flags else 0
        return changed

    def _inside(self, argument: str) -> str | None:
        if not argument.startswith('"'):
            return None
        path = _text(argument).decode(errors="replace")
        if path + "/" == self._root:
            return ""
        return path.removeprefix(self._root) if path.startswith(self._root) else None


def _text(argument: str) -> bytes:
    return bytes.fromhex("".join(_HEX.findall(argument)))


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
