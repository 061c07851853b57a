"""What a citizen takes home beside a film in which others are unrecognisable: one page that plays it and explains it.

It needs no network and no program of ours. It stands in the package under its own hash, like every other file.
"""

import html
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

HERE: Final = ZoneInfo("Europe/Amsterdam")

_STYLE: Final = (
    "body{font:1.1rem/1.6 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#16202c;background:#fff}"
    "video{width:100%;background:#000}code{overflow-wrap:anywhere}dt{font-weight:700;margin-top:.6rem}dd{margin:0}"
    "a{color:inherit}@media(prefers-color-scheme:dark){body{color:#eef2f6;background:#16202c}}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenHome:
    """One film in the package: what it was made of, as the ledger says (`facts`), and what was hidden."""

    recording: str
    started_at: datetime
    facts: Mapping[str, Any]
    captions: bytes


def readme(films: Sequence[TakenHome], *, municipality: str, case: str, given_at: datetime, disclosure: str) -> bytes:
    """Return the page (HTML, Dutch)."""
    parts = "".join(_film(film) for film in films)
    town, number = html.escape(municipality), html.escape(case)
    return f"""<!doctype html>
<html lang="nl"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Uw kopie van de beelden</title><style>{_STYLE}</style>
<h1>Uw kopie van de beelden</h1>
<p>U vroeg {town} om inzage in beelden van een bodycam (dossier {number}). Dit is de kopie die bij het besluit hoort,
gemaakt op {given_at.astimezone(HERE):%d-%m-%Y}. U kunt haar hieronder afspelen, ook zonder internet. Pak eerst het
zip-bestand helemaal uit. Speelt de film hier niet? Open <code>footage.mp4</code> met een programma als VLC.</p>
{parts}
<h2>Wat u ziet, en wat niet</h2>
<p>Andere mensen dan u zijn onherkenbaar gemaakt, om hun privacy te beschermen. Waar dat is gebeurd, ziet u blokken.
Waar geluid is weggehaald, is het stil. De ondertitels zeggen waar dat zo is. Vóór u haar kreeg, is de hele film
bekeken door wie haar maakten. De originele opname is niet veranderd en zit niet in deze map.</p>
<h2>Is dit echt?</h2>
<p>In het logboek van de gemeente staat dat juist deze film van juist die opname is gemaakt. Dat bewijs zit in de andere
bestanden. U of uw advocaat controleert het zip-bestand met het programma <code>vierogen verify</code> en de sleutels
uit de brief. Daar is geen internet voor nodig. Bewaar het zip-bestand zoals het is: na een wijziging klopt het bewijs
niet meer. Kenmerk van deze verstrekking: <code>{html.escape(disclosure)}</code>.</p>
<h2>Ga er zorgvuldig mee om</h2>
<p>Op de beelden kunnen mensen staan die zichzelf herkennen. Bent u het niet eens met het besluit? In de brief staat hoe
en tot wanneer u bezwaar maakt.</p>
</html>
""".encode()


def _film(film: TakenHome) -> str:
    told = b64encode(film.captions).decode()
    made, original = (html.escape(str(film.facts.get(name, ""))) for name in ("film_sha256", "original_last_hash"))
    folder = f"recordings/{html.escape(film.recording)}"
    return f"""<h2>Beelden van {film.started_at.astimezone(HERE):%d-%m-%Y, %H:%M} uur</h2>
<video controls preload="metadata" src="{folder}/footage.mp4">
<track default kind="captions" srclang="nl" label="Wat er is verborgen" src="data:text/vtt;base64,{told}"></video>
<dl><dt>Kenmerk (SHA-256) van deze film</dt><dd><code>{made}</code></dd>
<dt>Gemaakt van de opname met dit kenmerk</dt><dd><code>{original}</code></dd>
<dt>Wat er verborgen is, als tekst</dt><dd><a href="{folder}/footage.vtt">footage.vtt</a></dd></dl>
"""
