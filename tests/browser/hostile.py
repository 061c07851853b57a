"""Text that people should not write and will, and a visitor that writes it into every form it can find."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import aiohttp

MARK = "voos"
PIECES = (
    f"<script>window.{MARK}=1;alert(1)</script>",
    f'"><img src=x data-{MARK} onerror="window.{MARK}=1;alert(2)">',
    f"'><svg data-{MARK} onload=window.{MARK}=1>",
    f'" autofocus onfocus="window.{MARK}=1" x="',
    f"</textarea></title></style><script>window.{MARK}=1</script>",
    f"<a data-{MARK} href='javascript:window.{MARK}=1'>klik</a>",
    f"<meta data-{MARK} http-equiv=refresh content='0;url=https://elders.example/'>",
    f"<base data-{MARK} href=https://elders.example/>",
    "{{ 7 * 7 }} {% raw %} ${7*7} #{7*7} %s %n {0} {moment} {}",
    '=HYPERLINK("https://elders.example";"klik") @SUM(1+1)*cmd|\' /C calc\'!A0',
    "'; DROP TABLE officials; -- \\x00 %00 ../../etc/passwd",
    "\u202egnip.ecila\u202c \u2066rtl\u2069 \ufeff \u200b\u200d \U000e0001",
    "Z" + "\u0351\u0347\u0316\u036b" * 40 + "algo",
    "🏳️‍🌈👩‍👩‍👧‍👦 İıſ ß \u0130 ﷽",
    "\r\nSet-Cookie: voos=1\r\n\r\n",
)
SHORT = f'"><script>window.{MARK}=1</script>'
ALL = " ".join(PIECES)
NUL = f"{MARK} \x00 {MARK}"
HUGE = f"{MARK}<b>" * 3_000
TEXTS = (NUL, SHORT, ALL, HUGE)
TEXT = {"text", "search", "email", "tel", "url", ""}
FILLED = {
    "date": "2026-11-20", "datetime-local": "2026-11-20T14:00", "time": "14:00", "number": "1", "month": "2026-11",
}  # fmt: skip


@dataclass(kw_only=True)
class Form:
    """A form as a page shows it: what it would send, and which of it a person writes freely."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)

    @property
    def kind(self) -> tuple[str, ...]:
        """Which form it is, whatever it is about."""
        return (self.method, shape(self.action), *sorted({*self.free, *self.fields}))

    @property
    def chosen(self) -> list[str]:
        """What a person chooses rather than writes: a program may send anything for it."""
        return [name for name in self.fields if name != "csrf" and name not in self.free]


class _Reader(HTMLParser):
    """Links and forms of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        had = {name: value or "" for name, value in attrs}
        name, form = had.get("name", ""), self.forms[-1] if self.forms else None
        if tag == "a" and "href" in had:
            self.links.append(had["href"])
        elif tag == "form":
            self.forms.append(Form(method=had.get("method", "get").lower(), action=had.get("action", "")))
        elif form is None or not name:
            return
        elif tag == "textarea":
            form.free.append(name)
        elif tag == "select":
            self._select = name
            form.fields.setdefault(name, "")
        elif tag == "button":
            form.fields.setdefault(name, had.get("value", ""))
        elif tag == "input":
            self._input(form, name, had)

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""

    def _input(self, form: Form, name: str, had: dict[str, str]) -> None:
        kind = had.get("type", "text").lower()
        if kind in TEXT and "pattern" not in had:
            form.free.append(name)
        elif kind in ("radio", "checkbox"):
            form.fields.setdefault(name, had.get("value", "on"))
        else:
            form.fields.setdefault(name, had.get("value", "") or FILLED.get(kind, ""))

    def option(self, value: str) -> None:
        """Choose the first of a list that says something."""
        if self._select and value and self.forms:
            self.forms[-1].fields[self._select] = self.forms[-1].fields[self._select] or value


class _ReaderOfOptions(_Reader):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "option":
            self.option(dict(attrs).get("value") or "")
        super().handle_starttag(tag, attrs)


def shape(path: str) -> str:
    """Return the address without what it is about: segments with a digit, and the question."""
    return "/".join("*" if re.search(r"\d", each) else each for each in urlsplit(path).path.split("/"))


def kind_of(link: str) -> str:
    """Return the shape of a link with what it asks: its words, such as a kind of report, but not whom it is about."""
    asked = parse_qsl(urlsplit(link).query)
    words = sorted(name if re.search(r"\d", value) else f"{name}={value}" for name, value in asked)
    return f"{shape(link)}?{'&'.join(words)}"


@dataclass(kw_only=True)
class Visitor:
    """Somebody signed in, who opens one of each page and fills in every form once."""

    who: str
    client: aiohttp.ClientSession
    pages: dict[str, str] = field(default_factory=dict)
    wrote: set[tuple[str, ...]] = field(default_factory=set)
    texts: Sequence[str] = TEXTS
    broke: list[str] = field(default_factory=list)

    async def walk(self, start: Sequence[str] = ("/",)) -> None:
        """Open one page of each shape that links lead to, and write into every form on it."""
        waiting, seen = list(start), set(start)
        while waiting:
            path = waiting.pop(0)
            read = await self._open(path)
            if read is None:
                continue
            for form in read.forms:
                await self._write(path, form)
            for link in read.links:
                if link.startswith("/") and not link.startswith("/static/") and kind_of(link) not in seen:
                    seen.add(kind_of(link))
                    waiting.append(link)

    async def _open(self, path: str) -> _Reader | None:
        async with self.client.get(path) as answer:
            if answer.status >= 500:
                self.broke.append(f"{self.who} GET {path}: {answer.status}")
            if answer.status != 200 or answer.content_type != "text/html":
                return None
            reader = _ReaderOfOptions()
            reader.feed(await answer.text())
        self.pages.setdefault(shape(path), path)
        return reader

    async def _write(self, path: str, form: Form) -> None:
        """Send this form with each kind of text in what is written, and with one in what is chosen; once a kind."""
        hostile = SHORT in self.texts
        if form.kind in self.wrote or not (form.free or (hostile and form.chosen)):
            return
        self.wrote.add(form.kind)
        action = form.action or path
        for name in form.chosen if hostile else ():
            await self._send(form, action, form.fields | dict.fromkeys(form.free, "x") | {name: SHORT})
        for text in self.texts if form.free else ():
            if form.method != "get" or text is not HUGE:
                await self._send(form, action, form.fields | dict.fromkeys(form.free, text))

    async def _send(self, form: Form, action: str, data: dict[str, str]) -> None:
        if form.method == "get":
            sending = self.client.get(action, params=data)
        else:
            sending = self.client.post(action, data=data, headers={"Sec-Fetch-Site": "same-origin"})
        async with sending as answer:
            if answer.status >= 500:
                self.broke.append(f"{self.who} {form.method} {action} {sorted(data)}: {answer.status}")


@asynccontextmanager
async def visitor(
    address: str, who: str, wrote: set[tuple[str, ...]], *, texts: Sequence[str] = TEXTS
) -> AsyncIterator[Visitor]:
    """Sign in as one of the people of the demonstration. `wrote` is what others have written already."""
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[address])
    async with aiohttp.ClientSession(address, cookie_jar=jar) as client:
        async with client.post("/aanmelden", data={"wie": who}, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == 200
        yield Visitor(who=who, client=client, wrote=wrote, texts=texts)
