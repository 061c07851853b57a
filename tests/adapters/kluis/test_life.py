"""Any life a Kluis may have: whatever order things happen in, destroyed is destroyed and kept is kept."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from broker.wire.certificates import read_certificate
from broker.wire.refusals import Code, Refused
from cloud.kluis.about import Settings
from tests.adapters.kluis.conftest import Town, build
from tests.rules.kluis.world import Footage, heusden

pytestmark = pytest.mark.rule("T-10", "E-34")


class Life(RuleBasedStateMachine):
    """The model: what was taken, what was destroyed, and the backups of the store that somebody may put back."""

    films = Bundle("films")
    backups = Bundle("backups")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vo-life-"))
        self.town: Town = build(self.folder / "kluis", heusden(), settings=Settings(upcoming_weeks=1, backup_days=2))
        self.taken: dict[str, Footage] = {}
        self.gone: dict[str, bytes] = {}
        self.rewound = False

    @rule(target=films)
    def take(self) -> Footage:
        footage = self.town.film(seconds=4)
        self.taken[str(footage.id)] = footage
        return footage

    @rule(footage=films)
    def watch(self, footage: Footage) -> None:
        if str(footage.id) in self.gone:
            with pytest.raises(Refused) as caught:
                self.town.ask(footage)
            assert caught.value.refusal.code is Code.DESTROYED
        elif not self.rewound:
            assert self.town.watch(footage) == [b"second 1", b"second 2", b"second 3"]

    @rule(footage=films)
    def destroy(self, footage: Footage) -> None:
        certificate = self.town.destroy(footage.id)
        assert self.gone.setdefault(str(footage.id), certificate) == certificate

    @rule(footage=films)
    def send_again(self, footage: Footage) -> None:
        if str(footage.id) in self.gone:
            with pytest.raises(Refused) as caught:
                self.town.take(footage)
            assert caught.value.refusal.code is Code.DESTROYED

    @rule(hours=st.sampled_from([1, 24, 49]))
    def time_goes_by(self, hours: int) -> None:
        self.town.world.now += timedelta(hours=hours)
        self.town.kluis.keep_house(self.town.world.now)

    @rule()
    def restart(self) -> None:
        self.town.reopen()

    @rule(target=backups)
    def back_up(self) -> bytes:
        self.town.close()
        return (self.town.folder / "store.sqlite").read_bytes()

    @rule(backup=consumes(backups))
    def put_back(self, backup: bytes) -> None:
        """From here on, keys taken since the backup may be lost; nothing that was destroyed may come back."""
        self.town.close()
        (self.town.folder / "store.sqlite").write_bytes(backup)
        self.rewound = True

    @invariant()
    def what_is_gone_is_gone(self) -> None:
        states = {item.recording: item.state for item in self.town.kluis.inventory()}
        assert {each for each, state in states.items() if state in {"destroyed", "final"}} == set(self.gone)
        if not self.rewound:
            assert {each for each, state in states.items() if state == "held"} == set(self.taken) - set(self.gone)
        for recording, certificate in self.gone.items():
            now = self.town.kluis.certificates(self.taken[recording].id)
            assert now.executed == certificate
            if now.final:
                final = read_certificate(now.final, self.town.key)
                assert final.final_at is not None
                assert not (self.town.folder / "generations" / f"{final.generation:04d}.key").exists()

    def teardown(self) -> None:
        if hasattr(self, "town"):
            self.town.close()
            shutil.rmtree(self.folder)


Life.TestCase.settings = settings(
    max_examples=8, stateful_step_count=18, deadline=None, suppress_health_check=list(HealthCheck)
)


TestLife = Life.TestCase
