"""What a dock may count on, status by status: signing in, names, metadata, and refusals before the body."""

import asyncio
import hashlib
import json
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from broker.wire.policy import Via
from broker.wire.refusals import Code, refuse
from cloud.intake.axis.connection import Connection, connection_file, main
from cloud.intake.axis.content_key import make
from cloud.intake.axis.tokens import LIVES_S, Account, Tokens
from tests.adapters.axis.world import CONTAINER, SERIAL, USER, AxisTown, begun, clip_meta, md5

CLIP = f"{CONTAINER}/20261102_085930_7CF7.mp4"


async def test_a_wrong_key_gets_no_token(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        assert await dock.sign_in("axis", "wrong") == 401
        assert await dock.sign_in("nobody", axis_town.key) == 401
        async with dock.session.post(f"{dock.url}/auth/v1.0") as answer:
            assert answer.status == 400
            assert "X-Auth-Token" not in answer.headers


async def test_without_a_token_nothing_is_answered(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        dock.headers = {}
        for method, path in (("PUT", CONTAINER), ("GET", "System/Capabilities.json"), ("PUT", CLIP), ("HEAD", CLIP)):
            assert (await dock.say(method, path))[0] == 401


def test_a_token_lives_for_a_quarter_of_an_hour() -> None:
    account, key = Account.new("axis")
    tokens = Tokens((account,))
    token = tokens.sign_in("axis", key, now_s=0.0)
    assert token is not None
    assert tokens.whose(token, now_s=LIVES_S - 1) == "axis"
    assert tokens.whose(token, now_s=LIVES_S) is None
    assert key not in repr(account) + repr(tokens)


async def test_capabilities_and_categories_carry_the_md5_of_exactly_these_bytes(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        for name in ("Capabilities.json", "Categories.json"):
            status, headers, body = await dock.say("GET", f"System/{name}")
            assert (status, headers["ETag"]) == (200, md5(body))
            assert headers["Content-Length"] == str(len(body))
            assert "Content-Encoding" not in headers
        assert json.loads(body) == [{"Name": "Aanhouding", "Id": "1"}]
        assert await dock.put("System") == 201
        assert await dock.put("System/Capabilities.json") == 403


async def test_footage_cannot_be_read_listed_copied_or_deleted_by_this_door(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.begin()
        await dock.put(CLIP, b"clip", meta=clip_meta())
        for method, path in (
            ("GET", CLIP),
            ("GET", CONTAINER),
            ("DELETE", CLIP),
            ("DELETE", CONTAINER),
            ("COPY", CLIP),
        ):
            assert (await dock.say(method, path))[0] == 403, (method, path)


async def test_container_metadata_is_added_to_and_object_metadata_is_replaced(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        assert await dock.put(CONTAINER, meta=begun(TriggerOff="", Note="caf%C3%A9 %zz")) == 201
        assert await dock.put(CONTAINER, meta={"FirmwareVersion": "11.2", "TriggerOn": ""}) == 202
        _, headers, _ = await dock.say("HEAD", CONTAINER)
        said = {name.lower(): value for name, value in headers.items()}
        assert said["x-container-meta-firmwareversion"] == "11.2"
        assert said["x-container-meta-bwcserialnumber"] == SERIAL
        assert "x-container-meta-triggeron" not in said
        await dock.put(CLIP, b"clip", meta={"StartTime": "5", "Name": "Noor%20de%20Vries"})
        status, headers, _ = await dock.say("HEAD", CLIP)
        said = {name.lower(): value for name, value in headers.items()}
        assert (status, said["etag"], said["content-length"]) == (200, md5(b"clip"), "4")
        assert said["x-object-meta-name"] in ("Noor de Vries", "Noor%20de%20Vries")
        status, _, _ = await dock.say("POST", CLIP, meta={"Other": "1"})
        _, headers, _ = await dock.say("HEAD", CLIP)
        said = {name.lower(): value for name, value in headers.items()}
        assert status == 202
        assert "x-object-meta-name" not in said
        assert said["x-object-meta-other"] == "1"


async def test_an_object_needs_its_container_first(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        assert await dock.put(CLIP, b"clip") == 404
        assert (await dock.say("POST", CONTAINER, meta={"Status": "Complete"}))[0] == 404
        assert (await dock.say("HEAD", CONTAINER))[0] == 404
        assert (await dock.say("POST", CLIP))[0] == 404


async def test_what_came_by_another_door_is_out_of_reach(axis_town: AxisTown) -> None:
    await axis_town.outside.put_container("bodycam-3_00", {}, via=Via.IMPORT)
    async with axis_town.dock() as dock:
        assert await dock.put("bodycam-3_00") == 403
        assert await dock.put("bodycam-3_00/a.mp4", b"film") == 404
        assert await dock.complete("bodycam-3_00") == 404
        assert (await dock.say("HEAD", "bodycam-3_00"))[0] == 404


async def test_a_name_with_any_character_that_people_type_is_taken(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.begin()
        assert await dock.put(f"{CONTAINER}/caf%C3%A9%C2%A0%E2%80%8B%F0%9F%93%B9:1/2.mp4", b"clip") == 201
        assert await dock.put(f"{CONTAINER}/a%07b.mp4", b"clip") == 400


async def test_users_and_devices_are_metadata_and_take_no_content(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()
        assert await dock.put(f"Users/{USER}", b"x") == 400
        assert (await dock.say("POST", f"Users/{USER}", meta={"Active": "False"}))[0] == 202
        assert (await dock.say("HEAD", f"Devices/{SERIAL}"))[0] == 200


async def test_a_file_in_several_parts_is_refused_and_not_stored_empty(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.begin()
        assert await dock.put(CLIP, b"", X_Object_Manifest="c/p") == 501
        assert await dock.put(f"{CLIP}?multipart-manifest=put", b"[]") == 501
        assert (await dock.say("HEAD", CLIP))[0] == 404


async def test_a_full_disk_says_so_and_the_dock_keeps_its_footage(
    axis_town: AxisTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_size: int) -> None:
        raise refuse(Code.DISK_FULL, "vault", expected="room", got="none")

    async with axis_town.dock() as dock:
        await dock.begin()
        monkeypatch.setattr(axis_town.town.vault, "guard_space", full)
        status, headers, _ = await dock.say("PUT", CLIP, body=b"clip")
        assert (status, headers["Retry-After"]) == (507, "60")
        monkeypatch.undo()
        assert await dock.put(CLIP, b"clip") == 201


async def talk(axis_town: AxisTown, lines: list[str], body: bytes = b"", *, stay: bool = True) -> bytes:
    """Send this and return what comes back; who does not `stay` breaks off while the body is coming in."""
    tls = ssl.create_default_context(cafile=axis_town.ca)
    port = int(axis_town.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        writer.write("\r\n".join([*lines, "Host: x", "", ""]).encode() + body)
        await writer.drain()
        if not stay:
            async with asyncio.timeout(60):
                while not any((axis_town.town.folder / "outside").iterdir()):
                    await asyncio.sleep(0.01)
            return b""
        async with asyncio.timeout(60):
            return await reader.read(4096)
    finally:
        writer.close()
        with suppress(OSError):  # the other side may break off first
            await writer.wait_closed()


async def nothing_comes(axis_town: AxisTown) -> None:
    async with asyncio.timeout(60):
        while axis_town.outside._coming or any((axis_town.town.folder / "outside").iterdir()):
            await asyncio.sleep(0.05)


async def test_who_asks_first_is_refused_before_the_body(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.begin()
        path = f"PUT {dock.storage.removeprefix(dock.url)}/{CLIP} HTTP/1.1"
        ask = ["Content-Length: 5", "Expect: 100-continue"]
        ended = await talk(axis_town, [path, "X-Auth-Token: ended", *ask])
        assert ended.startswith(b"HTTP/1.1 401 ")
        alive = await talk(axis_town, [path, f"X-Auth-Token: {dock.headers['X-Auth-Token']}", *ask])
        assert alive.startswith(b"HTTP/1.1 100 ")
        assert (await dock.say("HEAD", CLIP))[0] == 404


async def test_a_connection_that_breaks_off_leaves_nothing(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.begin()
        path = f"PUT {dock.storage.removeprefix(dock.url)}/{CLIP} HTTP/1.1"
        token = f"X-Auth-Token: {dock.headers['X-Auth-Token']}"
        await talk(axis_town, [path, token, "Content-Length: 9000000"], b"x" * 6_000_000, stay=False)
        await nothing_comes(axis_town)
        await talk(
            axis_town,
            [path, token, "Transfer-Encoding: chunked"],
            b"5b8d80\r\n" + b"x" * 6_000_000 + b"\r\n",
            stay=False,
        )
        await nothing_comes(axis_town)
        assert (await dock.say("HEAD", CLIP))[0] == 404
        assert await axis_town.objects() == []


async def test_chunks_without_a_length_are_taken(axis_town: AxisTown) -> None:
    async def film() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"piece" * 100_000

    async with axis_town.dock() as dock:
        await dock.begin()
        status, headers, _ = await dock.say("PUT", CLIP, body=film())
        assert (status, headers["ETag"]) == (201, md5(b"piece" * 500_000))


async def test_forty_cameras_at_once_are_forty_whole_recordings(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()

        async def one(number: int) -> None:
            container = f"{USER}_CAM{number:02}_20261102T090000Z"
            assert await dock.put(container, meta=begun(BWCSerialNumber=f"CAM{number:02}")) == 201
            body = bytes([number]) * 200_000
            assert await dock.put(f"{container}/a.mp4", body, meta=clip_meta(), ETag=md5(body)) == 201
            assert await dock.complete(container) == 204

        await asyncio.gather(*(one(number) for number in range(40)))
    assert await axis_town.outside.settle() == 40
    assert len({row.camera for row in await axis_town.recordings()}) == 40
    assert len(axis_town.town.kluis.taken) == 40


async def test_files_of_one_press_side_by_side_are_one_recording(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.begin()
        names = [f"{CONTAINER}/clip{number}.mp4" for number in range(6)]
        bodies = {name: hashlib.sha256(name.encode()).digest() * 10_000 for name in names}
        done = await asyncio.gather(*(dock.put(name, bodies[name], meta=clip_meta()) for name in names))
        assert set(done) == {201}
        await dock.complete()
    assert await axis_town.outside.settle() == 1
    (row,) = await axis_town.recordings()
    assert (row.state, row.chain) == ("retained", "intact")
    files = [each.name for each in await axis_town.objects(row.id)]
    assert {f"{CONTAINER}/{name}": await axis_town.file(row.id, name) for name in files} == bodies


def test_a_connection_file_says_what_the_body_worn_system_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    public = make().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "content.pem").write_bytes(pem)
    out = tmp_path / "connection.json"
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
    arguments = [str(out), "--site", "Stadhuis", "--url", "https://axis.example:9443"]
    arguments += ["--certificate", str(tmp_path / "ca.pem")]
    assert main([*arguments, "--content-key", str(tmp_path / "content.pem")]) == 0
    said = json.loads(out.read_bytes())
    assert said["AuthenticationTokenURI"] == ["https://axis.example:9443/auth/v1.0"]
    assert [b64decode(each) for each in said["HTTPSCertificate"]] == [(tmp_path / "ca.pem").read_bytes()]
    assert said["WantEncryption"] is True
    assert len(said["PublicKey"]) <= 2048
    assert said["FullStoreAndReadSupport"] is False
    assert out.stat().st_mode & 0o077 == 0
    kept = json.loads(capsys.readouterr().out)
    assert kept["key_sha256"] == hashlib.sha256(said["BlobAPIKey"].encode()).hexdigest()
    plain = json.loads(
        connection_file(
            Connection(
                site="s", version="1", url="https://h:1", user="u", key="k", certificate_pem=b"c", content_key=None
            )
        )
    )
    assert "PublicKey" not in plain
    assert "PublicKeyId" not in plain
    assert plain["WantEncryption"] is False
