"""What the station shows: a table on a terminal, plain lines in a log."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from broker.wire.events import BayState
from dock_agent.rules.offload import LIGHTS

SHOW_EVERY_S: Final = 0.5
_RICH: Final[Mapping[str, str]] = {
    "off": "dim", "blue": "blue", "green": "green", "orange": "dark_orange", "red": "bold red"
}  # fmt: skip


async def show(dock: str, bays: Callable[[], tuple[BayState, ...]], *, to: TextIO = sys.stdout) -> None:
    """Show what the bays are doing, until cancelled."""
    if to.isatty():
        with Live(console=Console(file=to), refresh_per_second=2, transient=True) as live:
            while True:
                live.update(table(dock, bays()))
                await asyncio.sleep(SHOW_EVERY_S)
    before: dict[int, str] = {}
    while True:
        for bay in bays():
            now = line(bay)
            if before.get(bay.bay, line(BayState(bay=bay.bay))) != now:
                print(f"{dock} {now}", file=to, flush=True)
            before[bay.bay] = now
        await asyncio.sleep(SHOW_EVERY_S)


def table(dock: str, bays: tuple[BayState, ...]) -> Table:
    """Return the station as a table."""
    shown = Table(title=f"Vier Ogen · {dock}", expand=True)
    for heading in ("vak", "camera", "stand", "opnamen", "verzonden", "nog"):
        shown.add_column(heading)
    for bay in bays:
        light = LIGHTS[bay.doing]
        shown.add_row(
            f"{bay.bay:02}",
            bay.camera or "—",
            f"[{_RICH[light.colour]}]● {light.betekent}[/]" + (f"\n[dim]{bay.says}[/]" if bay.says else ""),
            f"{bay.recordings_done}/{bay.recordings_total}" if bay.recordings_total else "",
            f"{_size(bay.bytes_sent)} / {_size(bay.bytes_total)}" if bay.bytes_total else "",
            _left(bay),
        )
    return shown


def line(bay: BayState) -> str:
    """Return one bay in one line, without numbers that change all the time."""
    done = f" {bay.recordings_done}/{bay.recordings_total} recordings" if bay.recordings_total else ""
    says = f": {bay.says}" if bay.says else ""
    return f"bay {bay.bay:02} {bay.camera or '-'} {bay.doing}{done}{says}"


def _size(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB" if size < 1_000_000_000 else f"{size / 1_000_000_000:.2f} GB"


def _left(bay: BayState) -> str:
    if bay.doing not in {"uploading", "waiting"}:
        return ""
    if bay.eta_s is None:
        return "onbekend"
    return f"{bay.eta_s} s" if bay.eta_s < 90 else f"{bay.eta_s / 60:.0f} min"
