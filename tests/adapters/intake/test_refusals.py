"""Who and what is kept out, and that keeping out costs nothing."""

import asyncio
import hashlib
import random
import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select

from broker.identities import Authority
from broker.rules.access import Role
from broker.wire.delivery import bundle_name, length_in_bundle
from broker.wire.ids import DeviceId, Org
from broker.wire.recording import segment_digest
from broker.wire.refusals import Refused
from cloud.database.tables import denials, segments
from cloud.intake.bodies import Limits
from cloud.intake.receiver import SEGMENTS
from cloud.vault.store import Vault
from tests.adapters.intake.town import Camera, Made, Town, send, submit


def files_in(town: Town) -> list[Path]:
    return [path for path in (town.folder / "vault").rglob("*") if path.is_file()]


async def prepared(town: Town, *, bytes_each: int = 20_000) -> tuple[Camera, Made]:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    made = camera.record(bytes_each=bytes_each)
    await town.press(camera, made)
    return camera, made


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.02)


async def put(session: aiohttp.ClientSession, raw: bytes, *, name: bytes | None = None, **rest: Any) -> tuple[int, str]:
    digest = (name or segment_digest(raw)).hex()
    async with session.put(f"/v1/segments/{digest}", data=raw, **rest) as answer:
        problem = await answer.json(content_type=None) if answer.status >= 400 else {}
        return answer.status, str(problem.get("type", "")).removeprefix("urn:vier-ogen:refusal:")


# --- who ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("H-35", "T-28", "R-07")
async def test_a_dock_that_is_not_enrolled_is_refused_and_the_denial_is_remembered(town: Town) -> None:
    _, made = await prepared(town)
    stranger = town.authority.issue("dock-99", Role.DOCK)
    async with town.serving(), town.as_dock(stranger) as dock:
        assert await put(dock, made.segments[0]) == (403, "unknown-identity")
        assert (await submit(dock, made))[0] == 403
    async with town.database.transaction() as t:
        rows = (await t.execute(select(denials))).all()
    assert {row.who for row in rows} == {"dock-99"}
    assert files_in(town) == []
    assert await town.rows() == []


@pytest.mark.rule("H-35", "R-08")
async def test_a_dock_of_another_authority_does_not_even_get_a_connection(town: Town, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "elsewhere", "heusden").issue("dock-01", Role.DOCK)
    async with town.serving(), town.as_dock(foreign) as dock:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await dock.get("/v1/health")


@pytest.mark.rule("R-08")
async def test_nobody_gets_in_without_a_certificate(town: Town) -> None:
    context = ssl.create_default_context(cafile=town.authority.ca)
    async with town.serving(), aiohttp.ClientSession(town.address) as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await session.get("/v1/health", ssl=context)


async def test_a_camera_s_certificate_is_not_a_dock_s(town: Town) -> None:
    camera = town.authority.issue("cam-07", Role.CAMERA)
    async with town.serving(), town.as_dock(camera) as session, session.get("/v1/keylist") as answer:
        assert answer.status == 403


async def test_a_dock_that_is_struck_off_is_out_within_seconds(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.intake.doors.REGISTER_FRESH_S", 0.05)
    async with town.serving(), town.as_dock() as dock:
        async with dock.get("/v1/health") as answer:
            assert answer.status == 200
        await town.strike_dock("dock-01")
        async with asyncio.timeout(60):
            while (await dock.get("/v1/health")).status != 403:
                await asyncio.sleep(0.02)


@pytest.mark.rule("E-47")
async def test_footage_of_another_municipality_is_refused(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01"), org=Org("rotterdam")))
    made = camera.record()
    async with town.serving(), town.as_dock() as dock:
        assert await put(dock, made.segments[0]) == (403, "wrong-tenant")
        assert (await submit(dock, made))[0] == 403
    assert files_in(town) == []


async def test_a_camera_that_nobody_enrolled_is_refused(town: Town) -> None:
    made = Camera(DeviceId("cam-01")).record()
    async with town.serving(), town.as_dock() as dock:
        assert await put(dock, made.segments[0]) == (403, "unknown-identity")
    assert files_in(town) == []


# --- what ---------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-08")
async def test_any_flipped_bit_of_a_segment_is_refused(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    raw = camera.record(seconds=1, pre_record_s=0, bytes_each=400).segments[1]
    dice, seen = random.Random(11), set()
    async with town.serving(), town.as_dock() as dock:
        for _ in range(150):
            changed = bytearray(raw)
            changed[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
            status, code = await put(dock, bytes(changed))  # under the name that the changed bytes have
            seen.add(code)
            assert status in {400, 403, 422}, code
            status, _ = await put(dock, bytes(changed), name=segment_digest(raw))  # under the true name
            assert status in {400, 403, 422}
    assert {"digest-differs", "bad-signature"} <= seen
    assert files_in(town) == []


async def test_a_segment_cut_at_every_kibibyte_leaves_nothing_and_the_whole_one_goes_in(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    raw = camera.record(seconds=1, pre_record_s=0, bytes_each=48 * 1024).segments[1]
    digest = segment_digest(raw).hex()
    async with town.serving():
        for cut in range(0, len(raw), 1024):
            reader, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=town.tls())
            writer.write(
                f"PUT /v1/segments/{digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
            )
            writer.write(raw[:cut])
            await writer.drain()
            writer.transport.abort()
            del reader
        async with town.as_dock() as dock:
            assert (await put(dock, raw))[0] == 201
        await eventually(lambda: len(files_in(town)) == 1)


async def test_the_body_of_a_stranger_is_never_asked_for(town: Town) -> None:
    """Expect: 100-continue is answered by the refusal itself, not by 100 and then a refusal."""
    _, made = await prepared(town)
    stranger = town.authority.issue("dock-99", Role.DOCK)
    async with town.serving():
        assert await ask_first(town, made.segments[0], town.tls(stranger, ca=town.authority.ca)) == 403
        assert await ask_first(town, made.segments[0], town.tls(), size=20_000_000) == 413
        assert await ask_first(town, made.segments[0], town.tls()) == 100
        town.vault._free = lambda _: 100
        assert await ask_first(town, made.segments[0], town.tls()) == 507


async def ask_first(town: Town, raw: bytes, tls: ssl.SSLContext, *, size: int | None = None) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=tls)
    head = f"PUT /v1/segments/{segment_digest(raw).hex()} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    writer.write(f"{head}Content-Length: {size or len(raw)}\r\n\r\n".encode())
    line = await asyncio.wait_for(reader.readline(), 60)
    status = int(line.split()[1])
    if status == 100:
        await reader.readline()
        writer.write(raw)
        assert int((await asyncio.wait_for(reader.readline(), 60)).split()[1]) in {200, 201}
    writer.transport.abort()
    return status


async def test_a_body_without_its_length_is_refused(town: Town) -> None:
    _, made = await prepared(town)

    async def pieces() -> Any:
        yield made.segments[0]

    async with town.serving(), town.as_dock() as dock:
        async with dock.put(f"/v1/segments/{made.digests[0].hex()}", data=pieces()) as answer:
            assert answer.status == 411
        async with dock.put("/v1/segments/zz", data=b"x") as answer:
            assert answer.status == 404


async def test_a_full_disk_is_said_with_when_to_come_back_and_nothing_half_written_stays(town: Town) -> None:
    _, made = await prepared(town)
    town.vault._free = lambda _: 10_000
    async with town.serving(), town.as_dock() as dock:
        async with dock.put(f"/v1/segments/{made.digests[1].hex()}", data=made.segments[1]) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (507, "60")
        assert files_in(town) == []
        town.vault._free = lambda _: 10**9
        assert set(await send(dock, made)) == {201}


def takes_no_more(town: Town, dock: str, size: int) -> bool:
    """Whether the receiver has no room for another segment of this dock."""
    try:
        assert town.app is not None
        town.app[SEGMENTS].budget.guard(dock, size)
    except Refused:
        return True
    return False


async def test_slow_docks_cannot_take_the_room_of_the_others(town: Town) -> None:
    """Each takes at most half of what the others leave: one stuck dock, then a second, and a third still gets in."""
    _, made = await prepared(town)
    docks = [town.dock]
    for name in ("dock-02", "dock-03"):
        await town.enrol_dock(name)
        docks.append(town.authority.issue(name, Role.DOCK))
    raw = made.segments[1]
    async with town.serving(limits=Limits(budget_bytes=4_000_000)):
        stuck = []
        for dock in docks[:2]:
            for _ in range(7):  # each holds its piece and 256 KiB
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", town.port, ssl=town.tls(dock, ca=town.authority.ca)
                )
                head = f"PUT /v1/segments/{segment_digest(raw).hex()} HTTP/1.1\r\nHost: x\r\n"
                writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw[:100])
                stuck.append(writer)
        await eventually(lambda: all(takes_no_more(town, dock, len(raw)) for dock in ("dock-01", "dock-02")))
        for dock in docks[:2]:
            async with town.as_dock(dock) as slow, slow.put(f"/v1/segments/{made.digests[1].hex()}", data=raw) as no:
                assert (no.status, no.headers["Retry-After"]) == (429, "1")
        async with town.as_dock(docks[2]) as third:
            assert set(await send(third, made)) == {201}
        for writer in stuck:
            writer.transport.abort()


async def test_a_sender_that_falls_silent_is_let_go(town: Town) -> None:
    _, made = await prepared(town)
    raw = made.segments[1]
    async with town.serving(limits=Limits(idle_s=0.2)):
        reader, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=town.tls())
        head = f"PUT /v1/segments/{segment_digest(raw).hex()} HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw[:5000])
        said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert b"503" in said
        assert b"Retry-After: 5" in said
        writer.transport.abort()
        await eventually(lambda: files_in(town) == [])


async def test_a_sender_that_crawls_is_let_go(town: Town) -> None:
    _, made = await prepared(town)
    raw = made.segments[1]
    async with town.serving(limits=Limits(grace_s=0.3, least_bytes_per_s=10_000)):
        reader, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=town.tls())
        head = f"PUT /v1/segments/{segment_digest(raw).hex()} HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode())
        answer = asyncio.create_task(reader.readline())
        for place in range(100):
            if answer.done():
                break
            writer.write(raw[place * 10 : place * 10 + 10])
            await asyncio.sleep(0.05)
        assert b"503" in await asyncio.wait_for(answer, 60)
        writer.transport.abort()


# --- recordings ---------------------------------------------------------------------------------------------------


async def test_without_all_segments_there_is_no_receipt_and_the_answer_names_them(town: Town) -> None:
    _, made = await prepared(town)
    async with town.serving(), town.as_dock() as dock:
        for raw in made.segments[:-1]:
            await put(dock, raw)
        async with dock.put(f"/v1/recordings/{made.recording}", json=made.submission()) as answer:
            problem = await answer.json(content_type=None)
    assert (answer.status, problem["missing"]) == (409, [made.digests[-1].hex()])
    assert await town.rows() == []


@pytest.mark.rule("T-29", "E-41")
async def test_the_same_recording_twice_is_one_and_gets_the_same_receipt(town: Town) -> None:
    _, made = await prepared(town)
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        first = await submit(dock, made)
        assert set(await send(dock, made)) == {200}
        both = await asyncio.gather(submit(dock, made), submit(dock, made))
    assert list(both) == [first, first]
    assert len(await town.rows()) == 1
    assert len(files_in(town)) == len(made.segments)
    assert await town.kinds() == ["recording.received"]


async def test_another_recording_under_a_known_id_is_a_conflict(town: Town) -> None:
    camera, made = await prepared(town)
    other = camera.record(recording=made.recording)
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        await send(dock, other)
        assert (await submit(dock, made))[0] == 200
        assert (await submit(dock, other))[0] == 409
    assert (await town.row(made)).head_sha256 == hashlib.sha256(made.head).hexdigest()


@pytest.mark.parametrize("part", ["head", "end"])
async def test_a_flipped_bit_in_head_or_end_is_refused(town: Town, part: str) -> None:
    _, made = await prepared(town)
    whole = getattr(made, part)
    dice = random.Random(5)
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        for _ in range(40):
            changed = bytearray(whole)
            changed[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
            status, _ = await submit(dock, made, **{part: b64encode(bytes(changed)).decode()})
            assert status in {400, 403, 422}
        assert await town.rows() == []
        assert (await submit(dock, made))[0] == 200


def lies(made: Made, other: Made) -> dict[str, list[str]]:
    mine, theirs = [each.hex() for each in made.digests], [each.hex() for each in other.digests]
    return {
        "one left out": mine[:3] + mine[4:],
        "the last left out": mine[:-1],
        "two swapped": [mine[0], mine[2], mine[1], *mine[3:]],
        "one twice": [*mine[:3], mine[2], *mine[3:]],
        "one of another recording": [*mine[:3], theirs[3], *mine[4:]],
        "one of another added": [*mine, theirs[1]],
        "all of another": theirs,
        "none": [],
    }


@pytest.mark.rule("R-08")
@pytest.mark.parametrize("lie", list(lies(*(Camera(DeviceId("cam-01")).record() for _ in range(2)))))
async def test_a_dock_that_lies_about_the_row_gets_no_receipt_and_the_truth_still_goes_in(town: Town, lie: str) -> None:
    camera, made = await prepared(town)
    other = camera.record()
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        await send(dock, other)
        status, _ = await submit(dock, made, digests=lies(made, other)[lie])
        assert status == 422
        row = await town.row(made)
        assert (row.state, row.chain, row.receipt) == ("quarantined", "tampered", None)
        async with town.database.transaction() as t:
            query = select(segments.c.digest).where(segments.c.recording == str(made.recording))
            named = set((await t.execute(query)).scalars())
        assert named <= {each.hex() for each in made.digests}  # what is destroyed with it is never another's
        status, receipt = await submit(dock, made)
        assert (status, (await town.row(made)).state) == (200, "retained"), receipt


@pytest.mark.rule("R-08")
@pytest.mark.parametrize("place", [20, 100, -100, -1], ids=["header", "link", "trailer", "signature"])
async def test_a_byte_that_changed_in_the_vault_after_the_door_is_seen_before_the_receipt(
    town: Town, place: int
) -> None:
    """No signature is verified again where the chain holds: so it must not hold here."""
    _, made = await prepared(town)
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        (path,) = (each for each in files_in(town) if each.name == made.digests[2].hex())
        raw = bytearray(path.read_bytes())
        raw[place] ^= 1
        path.write_bytes(raw)
        assert (await submit(dock, made))[0] == 422
    row = await town.row(made)
    assert (row.state, row.chain, row.receipt) == ("quarantined", "tampered", None)


@pytest.mark.rule("E-42")
async def test_a_damaged_segment_is_kept_as_it_is_and_the_recording_put_apart_in_sight(town: Town) -> None:
    _, made = await prepared(town)
    damaged = bytearray(made.segments[3])
    damaged[5000] ^= 1
    name = hashlib.sha256(damaged).hexdigest()
    async with town.serving(), town.as_dock() as dock:
        for place, raw in enumerate(made.segments):
            if place != 3:
                await put(dock, raw)
        async with dock.put(f"/v1/damaged/{name}", data=bytes(damaged)) as answer:
            assert answer.status == 201
        for _ in range(3):  # a dock tries again now and then
            status, _ = await submit(dock, made, damaged={"3": name})
            assert status == 422  # no receipt: the camera keeps the original
    row = await town.row(made)
    assert (row.state, row.chain) == ("quarantined", "tampered")
    assert row.expires_at > row.ended_at
    assert await town.vault.read(bytes.fromhex(name)) == bytes(damaged)
    assert await town.kinds() == ["recording.quarantined"]
    async with town.database.transaction() as t:
        query = select(segments.c.digest).where(segments.c.recording == str(made.recording))
        assert name in set((await t.execute(query)).scalars())  # and so it is destroyed with the recording


async def test_a_segment_of_another_recording_cannot_be_passed_off_as_damage(town: Town) -> None:
    camera, made = await prepared(town)
    other = camera.record()
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        await send(dock, other)
        assert (await submit(dock, made, damaged={"3": other.digests[2].hex()}))[0] == 409
    assert await town.rows() == []


async def test_what_was_destroyed_never_comes_back(town: Town) -> None:
    _, made = await prepared(town)
    town.kluis.destroyed.add(made.recording)
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        status, _ = await submit(dock, made)
    assert status == 410
    assert await town.rows() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"\xff", b'{"head": 1}', b"[" * 100_000, b'{"head":"","digests":[],"end":"","more":1}'],
)
async def test_a_submission_that_is_none_is_refused(town: Town, body: bytes) -> None:
    _, made = await prepared(town)
    async with town.serving(), town.as_dock() as dock:
        async with dock.put(f"/v1/recordings/{made.recording}", data=body) as answer:
            assert answer.status == 400
        async with dock.put("/v1/recordings/../../x", data=b"{}") as answer:
            assert answer.status in {400, 404}


# --- many at once -------------------------------------------------------------------------------------------------


async def test_have_says_in_one_answer_which_are_here(town: Town) -> None:
    _, made = await prepared(town)
    async with town.serving(), town.as_dock() as dock:
        for raw in made.segments[::2]:
            await put(dock, raw)
        async with dock.post("/v1/segments/have", data=b"".join(made.digests)) as answer:
            bits = await answer.read()
        async with dock.post("/v1/segments/have", data=b"123") as answer:
            assert answer.status == 400
    here = [bool(bits[place // 8] >> 7 - place % 8 & 1) for place in range(len(made.digests))]
    assert here == [place % 2 == 0 for place in range(len(made.digests))]


def bundled(segments: Sequence[bytes]) -> bytes:
    return b"".join(length_in_bundle(len(raw)) + raw for raw in segments)


@pytest.mark.parametrize("bytes_each", [400, 60_000])
async def test_a_bundle_of_segments_goes_in_whole_and_again_is_welcome(town: Town, bytes_each: int) -> None:
    _, made = await prepared(town, bytes_each=bytes_each)
    body, name = bundled(made.segments), bundle_name(made.digests)
    async with town.serving(), town.as_dock() as dock:
        for status in (201, 200):
            async with dock.put(f"/v1/bundles/{name}", data=body) as answer:
                assert answer.status == status
        assert [await town.vault.read(digest) for digest in made.digests] == list(made.segments)
        assert (await submit(dock, made))[0] == 200
    assert len(files_in(town)) == len(made.segments)


async def test_a_bundle_that_is_no_row_of_segments_is_refused(town: Town) -> None:
    _, made = await prepared(town)
    body, name = bundled(made.segments), bundle_name(made.digests)
    async with town.serving(), town.as_dock() as dock:
        for bad, called in ((body[:-1], name), (body + b"\0\0\0\1x", name), (body, "0" * 64), (body[:3], name)):
            async with dock.put(f"/v1/bundles/{called}", data=bad) as answer:
                assert answer.status in {400, 422}
    assert files_in(town) == []


async def test_a_bad_segment_in_a_bundle_is_named_and_the_others_are_acknowledged(town: Town) -> None:
    _, made = await prepared(town)
    bad = bytearray(made.segments[2])
    bad[300] ^= 1
    body = bundled([*made.segments[:2], bytes(bad), *made.segments[3:]])
    async with town.serving(), town.as_dock() as dock:
        async with dock.put(f"/v1/bundles/{bundle_name(made.digests)}", data=body) as answer:
            problem = await answer.json(content_type=None)
        assert answer.status == 422
        assert problem["refused"] == {made.digests[2].hex(): "DIGEST_DIFFERS"}
        assert await town.vault.missing(made.digests) == [place == 2 for place in range(len(made.digests))]
        assert (await put(dock, made.segments[2]))[0] == 201
        assert (await submit(dock, made))[0] == 200


async def test_a_vault_opened_again_has_what_was_acknowledged(town: Town) -> None:
    _, made = await prepared(town)
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
    again = Vault.open(town.folder / "vault")
    assert await again.missing(made.digests) == [False] * len(made.digests)
    again.close()
