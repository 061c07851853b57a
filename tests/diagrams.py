"""`python -m tests.diagrams` draws the state diagrams of ARCHITECTURE.md from the tables that the code runs on.

The rest of the page is left alone; `tests/rules/test_documents.py` compares what stands there with what this draws.
"""

import re
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cloud.rules.lifecycles import ALL, Lifecycle, mermaid
from cloud.viewing.rules.lifecycle import STEPS, RoomState
from edge.rules import camera

PAGE: Final = Path(__file__).parents[1] / "ARCHITECTURE.md"
BEGIN: Final = "<!-- drawn by `python -m tests.diagrams` -->"
END: Final = "<!-- end of what is drawn -->"

ROOM: Final = Lifecycle(
    name="viewing room",
    naam="kijkkamer",
    first=frozenset({RoomState.DRAFTED.value}),
    moves=MappingProxyType({(before.value, event.value): after.value for (before, event), after in STEPS.items()}),
)


def drawn() -> str:
    """Return everything between the markers."""
    parts = ["## The states of things", "What is not drawn here does not happen: it is refused, and nothing changes."]
    parts.append(_folded("camera", camera.diagram()))
    parts += [_folded(each.name, mermaid(each)) for each in (*ALL, ROOM)]
    return "\n\n".join(parts) + "\n"


def standing(page: str) -> str:
    """Return what a page has between the markers."""
    found = re.search(f"{re.escape(BEGIN)}\n(.*?){re.escape(END)}", page, re.DOTALL)
    return found[1] if found else ""


def _folded(name: str, diagram: str) -> str:
    return f"<details><summary>{name}</summary>\n\n```mermaid\n{diagram}```\n\n</details>"


def main() -> None:
    """Write the diagrams into the page, at its end when it has no markers yet."""
    page = PAGE.read_text(encoding="utf-8")
    block = f"{BEGIN}\n{drawn()}{END}"
    if BEGIN in page:
        before, rest = page.split(BEGIN, 1)
        page = before + block + rest.split(END, 1)[1]
    else:
        page = f"{page.rstrip()}\n\n{block}\n"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
