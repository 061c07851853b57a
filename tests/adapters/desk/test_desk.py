"""The desk without a browser: what it sends, what it refuses, and what it is made of."""

import hashlib
import json
import re
from pathlib import Path
from uuid import UUID

import aiohttp
from sqlalchemy import insert, select

from broker.wire.policy import CaseKind
from cloud.database.tables import alert_channels, denials
from cloud.desk import words
from cloud.desk.attempts import PER_PLACE
from cloud.desk.live import TICK_S
from cloud.desk.sessions import COOKIE, Session, Sessions
from tests.browser.town import MORNING, ORG, TownHall
from tests.promptness import within

DESK = Path(words.__file__).parent
NLDS = DESK / "static" / "nlds"
IN_PAGES = re.compile(r"_\('((?:[^'\\]|\\.)*)'")
IN_CODE = re.compile(r'(?:words|self|words_of\(request\))\(\s*"((?:[^"\\]|\\.)*)"')


async def sign_in(client: aiohttp.ClientSession, who: str) -> str:
    """Sign in and return the form token of the session."""
    async with client.post("/aanmelden", data={"wie": who}, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
        text = await answer.text()
    found = re.search(r'data-csrf="([^"]+)"', text)
    assert found is not None, text[:400]
    return found[1]


async def denied(town: TownHall) -> list[str]:
    async with town.database.transaction() as t:
        return [row.what for row in (await t.execute(select(denials))).all()]


async def test_every_answer_forbids_what_a_page_of_ours_never_does(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    await sign_in(client, "o-101")
    for path in ("/vloot", "/openbaar", "/thema.css", "/static/app.css", "/bestaat-niet"):
        async with client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with client.get("/vloot") as answer:
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_change_that_another_site_asks_for_is_refused_and_written_down(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, "o-101")
    recording = await town.press("cam-07")
    address = f"/activeringen/{recording}/gezien"
    for headers, data in (
        ({"Sec-Fetch-Site": "cross-site"}, {"csrf": token}),
        ({"Sec-Fetch-Site": "same-site"}, {"csrf": token}),
        ({}, {"csrf": token}),  # no browser says neither site nor origin
        ({"Sec-Fetch-Site": "same-origin"}, {}),
        ({"Sec-Fetch-Site": "same-origin"}, {"csrf": "x" * 32}),
    ):
        async with client.post(address, data=data, headers=headers) as answer:
            assert answer.status == 403
    assert len(await denied(town)) == 5
    press = await town.fleet.activation(recording)
    assert press is not None
    assert press.acknowledged_at is None
    async with client.post(address, data={"csrf": token}, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status == 200


async def test_nobody_gets_past_the_door_without_signing_in(town: TownHall) -> None:
    async with aiohttp.ClientSession(town.address) as stranger:
        for path in ("/vloot", "/live", "/alarm", "/opnamen", "/logboek", "/kijkkamer", "/demo"):
            async with stranger.get(path, allow_redirects=False) as answer:
                assert answer.status == 401
            async with stranger.get(path, headers={"Accept": "text/html"}, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/aanmelden")


async def test_what_a_part_behind_a_page_does_not_allow_is_written_down(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, "o-101")
    same = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": token}
    channel = {"id": str(UUID(int=1)), "org": ORG, "official": "o-101", "route": "telefoon", "address": "06"}
    async with town.database.transaction() as t:
        await t.execute(
            insert(alert_channels).values(channel | {"added_at": town.clock(), "code": "000042", "tries": 0})
        )
    guess = {"doe": "bevestigen", "kanaal": channel["id"], "code": "999999"}
    async with client.post("/waarschuwingen", data=guess, headers=same) as answer:
        assert answer.status == 403
    assert await denied(town) == ["/waarschuwingen"]


async def test_an_officer_does_not_see_which_cases_there_are(town: TownHall, client: aiohttp.ClientSession) -> None:
    recording = str(await town.film("cam-03"))
    case = await town.casework.register_case(
        ORG, by="o-103", kind=CaseKind.COMPLAINT, summary="Een klacht", recordings=[recording]
    )
    form = f"/kijkkamer/nieuw?dossier={case.id}"
    for who, sees in (("h-001", False), ("o-103", True)):
        client.cookie_jar.clear()
        await sign_in(client, who)
        async with client.get("/kijkkamer") as overview, client.get(form) as asked:
            assert (case.number in await overview.text(), asked.status) == (sees, 200 if sees else 403)


async def test_the_ledger_calls_a_press_by_its_camera_before_the_film_is_there(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    recording = str(await town.press("cam-07"))
    await sign_in(client, "o-103")
    async with client.get("/logboek") as answer:
        text = await answer.text()
    assert f'<span class="mono">{recording}</span>' not in text
    assert "<td>cam-07, " in text


async def test_only_people_on_the_list_can_be_chosen(town: TownHall, client: aiohttp.ClientSession) -> None:
    for who in ("h-017", "system", ""):
        async with client.post("/aanmelden", data={"wie": who}, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == 403
    assert COOKIE not in {cookie.key for cookie in client.cookie_jar}


async def test_a_form_sends_nobody_to_another_site(town: TownHall, client: aiohttp.ClientSession) -> None:
    token = await sign_in(client, "o-101")
    for away in ("https://elders.example/", "//elders.example/", "/\\elders.example"):
        data = {"csrf": token, "taal": "en", "terug": away}
        async with client.post(
            "/taal", data=data, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False
        ) as answer:
            assert answer.headers["Location"] == "/"


async def test_a_button_exists_in_a_demonstration_only_for_cameras_that_exist(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, "o-101")
    same = {"Sec-Fetch-Site": "same-origin"}
    async with client.post("/vloot/cam-07/knop", data={"csrf": token, "doe": "press"}, headers=same) as answer:
        assert answer.status == 200
    assert [path.name for path in (town.folder / "buttons").iterdir()] == ["cam-07"]
    for camera, act in (("cam-99", "press"), ("..%2Fledger", "press"), ("cam-07", "erase")):
        async with client.post(f"/vloot/{camera}/knop", data={"csrf": token, "doe": act}, headers=same) as answer:
            assert answer.status in {403, 404}
    assert len(list((town.folder / "buttons").iterdir())) == 1


async def test_moving_the_clock_is_in_the_ledger_before_it_moves(town: TownHall, client: aiohttp.ClientSession) -> None:
    token = await sign_in(client, "o-101")
    before, size = town.clock(), town.ledger.checkpoint().size
    data = {"csrf": token, "stap": "bewaartermijn"}
    async with client.post("/demo/klok", data=data, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status == 200
    assert (town.clock() - before).days == 28
    ((_, raw),) = await town.ledger.read(size, size + 1)
    assert json.loads(raw)["kind"] == "clock.moved"


async def test_every_role_reads_every_page_that_opens_in_both_languages(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    await town.film("cam-07")
    for who in ("o-101", "o-102", "o-103", "o-104", "o-105", "o-106", "o-107", "h-001"):
        await sign_in(client, who)
        async with client.get("/openbaar") as answer:
            links = set(re.findall(r'<a href="(/[a-z]+)"', await answer.text()))
        assert links
        for language in ("nl", "en"):
            client.cookie_jar.update_cookies({"taal": language})
            for link in links:
                async with client.get(link) as answer:
                    assert answer.status == 200, f"{who} {link}"
                    assert f'lang="{language}"' in await answer.text()
        client.cookie_jar.clear()


def test_every_sentence_of_the_pages_has_an_english_one() -> None:
    said = set()
    for path in sorted((DESK / "templates").glob("*.html")):
        said |= {text.replace("\\'", "'") for text in IN_PAGES.findall(path.read_text())}
    for path in sorted(DESK.rglob("*.py")):
        said |= set(IN_CODE.findall(path.read_text()))
    english = words.read_catalogue()
    assert len(said) > 400
    assert sorted(said - set(english)) == []
    for dutch, translated in english.items():
        assert set(re.findall(r"\{(\w+)\}", dutch)) == set(re.findall(r"\{(\w+)\}", translated)), dutch


def test_no_page_carries_a_script_a_style_or_an_address_of_others() -> None:
    for path in sorted((DESK / "templates").glob("*.html")):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path.name
        assert not re.search(r"\sstyle\s*=|<style|\son\w+\s*=\s*[\"']", text), path.name
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name


def test_the_files_of_others_are_the_ones_we_looked_at() -> None:
    lines = (NLDS / "HASHES").read_text().splitlines()
    listed = {name.removeprefix("./"): digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    here = {str(path.relative_to(NLDS)) for path in NLDS.rglob("*") if path.is_file()} - {"HASHES"}
    assert here == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((NLDS / name).read_bytes()).hexdigest() == digest, name
    for name in here - {each for each in here if each.startswith("licences/")}:
        assert (NLDS / "licences" / f"{name}.txt").is_file(), name


def test_a_session_ends_by_stillness_by_age_and_by_signing_out() -> None:
    sessions = Sessions(idle_s=1800, absolute_s=36_000)

    def begin(who: str, *, now_s: float = 0.0) -> Session:
        return sessions.begin(who, how="key", now_s=now_s, at=MORNING)

    first = begin("o-101")
    assert sessions.find(first.token, now_s=1800) is first
    assert sessions.find(first.token, now_s=1800 + 1801) is None
    busy = begin("o-101")
    for now_s in range(0, 36_001, 1800):
        assert sessions.find(busy.token, now_s=now_s) is busy
    assert sessions.find(busy.token, now_s=36_001) is None, "however busy"
    second = begin("o-101")
    sessions.end(second.token)
    assert sessions.find(second.token, now_s=0) is None
    assert sessions.find(None, now_s=0) is None
    assert second.token not in repr(second)
    assert second.csrf not in repr(second)


def test_a_person_sees_only_own_sessions_newest_first_and_never_more_than_twenty() -> None:
    sessions = Sessions(idle_s=1800, absolute_s=36_000)
    sessions.begin("o-102", how="key", now_s=0, at=MORNING)
    mine = [sessions.begin("o-101", how="key", now_s=n, at=MORNING) for n in range(30)]
    assert sessions.of("o-101", now_s=30) == tuple(reversed(mine[10:]))
    assert sessions.of("o-101", now_s=5000) == ()


async def test_a_stranger_who_keeps_failing_waits_and_fills_no_ledger(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    same = {"Sec-Fetch-Site": "same-origin"}
    for _ in range(PER_PLACE):
        async with client.post("/aanmelden", data={"wie": "system"}, headers=same) as answer:
            assert answer.status == 403
    size = town.ledger.checkpoint().size
    async with client.post("/aanmelden", data={"wie": "o-101"}, headers=same) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
    async with client.get("/aanmelden") as answer:
        assert answer.status == 200
    assert town.ledger.checkpoint().size == size
    assert len(await denied(town)) == PER_PLACE


async def test_signing_in_again_gives_a_new_cookie_and_ends_the_old_one(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, "o-101")
    (old,) = [cookie.value for cookie in client.cookie_jar if cookie.key == COOKIE]
    data = {"wie": "o-102", "csrf": token}
    async with client.post("/aanmelden", data=data, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status == 200
    (new,) = [cookie.value for cookie in client.cookie_jar if cookie.key == COOKIE]
    assert new != old
    async with aiohttp.ClientSession(town.address, cookies={COOKIE: old}) as thief, thief.get("/vloot") as answer:
        assert answer.status == 401


async def test_news_ends_with_the_session(town: TownHall, client: aiohttp.ClientSession) -> None:
    token = await sign_in(client, "o-101")
    async with client.get("/live") as news:
        assert news.status == 200
        async with client.post(
            "/aanmeldingen/beeindigen", data={"csrf": token, "welke": "alle"}, headers={"Sec-Fetch-Site": "same-origin"}
        ) as answer:
            assert answer.status == 200
        with within(TICK_S * 3):
            await news.read()  # to its end
