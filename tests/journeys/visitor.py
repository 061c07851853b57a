"""Somebody at the desk, over HTTP: signs in, reads pages, fills in forms, listens to the live stream."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from tests.journeys.town import eventually

CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Visitor:
    """One person in one browser. `name` is the official's id."""

    def __init__(self, base: str, name: str) -> None:
        self.base, self.name = base, name
        jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=URL(base))
        self._session = aiohttp.ClientSession(base_url=base, cookie_jar=jar)
        self._csrf = ""

    async def __aenter__(self) -> Self:
        try:
            async with self._session.post("/aanmelden", data={"wie": self.name}, headers=SAME_SITE) as answer:
                assert answer.status == 200, await answer.text()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.close()

    async def read(self, path: str) -> str:
        """Return a page's text; it must be there."""
        async with self._session.get(path, headers={"Accept": "text/html"}) as answer:
            text = await answer.text()
            assert answer.status == 200, f"{path}: {answer.status}\n{text[:2000]}"
        if found := CSRF.search(text):
            self._csrf = found[1]
        return text

    async def send(self, path: str, fields: Mapping[str, str | Sequence[str]] | None = None) -> tuple[int, str]:
        """Send a form; return the status and where it led."""
        if not self._csrf:
            await self.read("/openbaar")
            await self.read("/kijkkamer")
        form = aiohttp.FormData({"csrf": self._csrf})
        for name, values in (fields or {}).items():
            for value in [values] if isinstance(values, str) else values:
                form.add_field(name, value)
        async with self._session.post(path, data=form, headers=SAME_SITE) as answer:
            text = await answer.text()
            if answer.status >= 400:  # shown only when the test fails
                print(f"{self.name} {path}: {answer.status}\n{re.sub('<[^>]+>|[ ]+', ' ', text)[-1500:]}")
            return answer.status, str(answer.url.path)

    async def fetch(self, path: str) -> tuple[int, bytes]:
        """Return status and body of whatever is there."""
        async with self._session.get(path) as answer:
            return answer.status, await answer.read()

    @asynccontextmanager
    async def live(self) -> AsyncIterator["Live"]:
        """Listen as an open page does."""
        async with self._session.get("/live", headers={"Accept": "text/event-stream"}) as answer:
            assert answer.status == 200
            yield Live(answer.content)


class Live:
    """The stream of server-sent events."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def until(self, kind: str, *, containing: str = "") -> str:
        """Return the data of the first event of this kind that contains this text."""
        event = ""
        async for raw in self._content:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event == kind and containing in line:
                return line.removeprefix("data: ")
        raise AssertionError(f"the stream ended before {kind!r} came")


async def address_together(viewer: Visitor, *, seats: Sequence[Visitor], room: str) -> str:
    """Return where the film of an open room begins; who fell silent sits down again."""

    async def address() -> str | None:
        if found := re.search(r"data-address=\"([^\"]+)\"", await viewer.read(room)):
            return found[1]
        for seat in seats:
            await seat.send(f"{room}/plaatsnemen")
        return None

    return await eventually("an address to play from", address)


async def fetch_together(viewer: Visitor, path: str, *, seats: Sequence[Visitor], room: str) -> tuple[int, bytes]:
    """Fetch a piece of film; whoever a busy machine let fall silent sits down again first, as a person would."""
    for _ in range(30):
        status, body = await viewer.fetch(path)
        if status != 403:
            break
        for seat in seats:
            await seat.send(f"{room}/plaatsnemen")
    return status, body


SAME_SITE = {"Sec-Fetch-Site": "same-origin"}
