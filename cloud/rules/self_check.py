"""Is this town's cloud well? From facts a verdict each: green, orange or red, why, and what to do about it.

Red: something that was promised is not kept now, or will not be within days. Orange: look at it this week. No fact here
is about a person; names are those of devices and services.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

MIN_REDO: Final = timedelta(hours=36)
"""The ledger is verified each night; a day and a half without one is a night that was missed."""

CERTIFICATE_RED_DAYS: Final = 7
CERTIFICATE_ORANGE_DAYS: Final = 21
"""A certificate lives 90 days and is renewed 30 days before its end: nine days later something is wrong."""

CLOCK_ORANGE_S: Final = 5.0
CLOCK_RED_S: Final = 60.0
"""Evidence is timed to the second; a signature of WebAuthn or a certificate bears a minute."""

ENOUGH_CAMERAS: Final = 3
"""One camera's clock says nothing about ours; the middle one of three does."""

FREE_ORANGE_PCT: Final = 15
PROBE_SLOW_S: Final = 2.0
"""A synced write of a few bytes: milliseconds on a healthy disk."""

PROBE_OLD: Final = timedelta(minutes=20)
"""A write is tried each five minutes."""

STRAYS_ORANGE: Final = timedelta(hours=12)
"""A dock sends a camera's whole shift within hours; what lay longer without a recording is not on its way."""

LATE_ORANGE: Final = timedelta(hours=1)
LATE_RED: Final = timedelta(hours=24)
"""Destruction follows its moment within minutes; a day late is a day too long kept."""

SILENT_RED: Final = timedelta(days=1)
"""Who is asked outside may be away for a day, or for three of the times that it is asked."""


class Light(StrEnum):
    """How it is. The worst of all is the whole's."""

    GREEN = "green"
    ORANGE = "orange"
    RED = "red"


class Check(StrEnum):
    """What is looked at, in the order of the page."""

    LEDGER = "ledger"
    DESTRUCTION = "destruction"
    STRAYS = "strays"
    KLUIS = "kluis"
    POLICY = "policy"
    STORAGE = "storage"
    BROKER = "broker"
    ALERTING = "alerting"
    CERTIFICATES = "certificates"
    CLOCK = "clock"
    IDENTITY = "identity-provider"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One verdict. `because` and `do` are English, `waarom` and `doe` Dutch; `facts` are for monitoring."""

    check: Check
    light: Light
    because: str
    waarom: str
    do: str = ""
    doe: str = ""
    facts: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


def worst(findings: tuple[Finding, ...]) -> Light:
    """Return the light of the whole."""
    lights = {each.light for each in findings}
    return next((light for light in (Light.RED, Light.ORANGE) if light in lights), Light.GREEN)


def judge_ledger(
    *, size: int, verified_at: datetime | None, verified_size: int, intact: bool, now: datetime
) -> Finding:
    """Judge the last time that every entry was recomputed."""
    facts = {
        "entries": size,
        "verified_at": verified_at.isoformat() if verified_at else None,
        "verified_entries": verified_size,
        "intact": intact,
    }
    if verified_at is not None and not intact:
        return Finding(
            check=Check.LEDGER,
            light=Light.RED,
            because="the ledger is not what was signed",
            waarom="het logboek is niet wat is ondertekend",
            do="this is a security incident: touch nothing, verify the ledger on its page, tell the data protection "
            "officer",
            doe="dit is een beveiligingsincident: verander niets, laat het logboek controleren op zijn eigen pagina, "
            "meld het aan de functionaris gegevensbescherming",
            facts=facts,
        )
    if verified_at is None or now - verified_at > MIN_REDO:
        return Finding(
            check=Check.LEDGER,
            light=Light.ORANGE,
            because="the ledger was not verified in the last night",
            waarom="het logboek is de afgelopen nacht niet nagerekend",
            do="verify it now on the ledger's page; if this stays, look at the cloud's log",
            doe="laat het nu controleren op de pagina Logboek; blijft dit zo, kijk dan in het log van de cloud",
            facts=facts,
        )
    return Finding(
        check=Check.LEDGER,
        light=Light.GREEN,
        because=f"all {verified_size} entries were recomputed and agree",
        waarom=f"alle {verified_size} regels zijn nagerekend en kloppen",
        facts=facts,
    )


def judge_destruction(*, last_at: datetime | None, late: int, oldest: datetime | None, now: datetime) -> Finding:
    """Judge what should be gone. `late` without a hold are past their moment, the longest since `oldest`."""
    behind = timedelta(0) if oldest is None else now - oldest
    facts = {
        "last_destroyed_at": last_at.isoformat() if last_at else None,
        "late": late,
        "late_s": int(behind.total_seconds()),
    }
    if late == 0 or behind <= LATE_ORANGE:
        return Finding(
            check=Check.DESTRUCTION,
            light=Light.GREEN,
            because="everything that had to go is gone",
            waarom="alles wat weg moest, is weg",
            facts=facts,
        )
    return Finding(
        check=Check.DESTRUCTION,
        light=Light.RED if behind > LATE_RED else Light.ORANGE,
        because=f"kept too long without a hold: {_count(late, 'recording', 'recordings')}",
        waarom=f"te lang bewaard zonder bewaarplicht: {_count(late, 'opname', 'opnamen')}",
        do="see whether Kluis, ledger and broker are well: destruction waits for them and then goes on by itself",
        doe="kijk of Kluis, logboek en broker in orde zijn: de vernietiging wacht daarop en gaat dan vanzelf verder",
        facts=facts,
    )


def judge_strays(*, count: int, oldest: datetime | None, now: datetime) -> Finding:
    """Judge what came in and belongs to no recording: `count` pieces, the longest here since `oldest`."""
    here = timedelta(0) if oldest is None else now - oldest
    hours = int(here / timedelta(hours=1))
    facts: dict[str, str | int | float | bool | None] = {"segments": count, "oldest_h": hours}
    if count == 0 or here <= STRAYS_ORANGE:
        return Finding(
            check=Check.STRAYS,
            light=Light.GREEN,
            because="all footage belongs to a recording, or its recording is on its way",
            waarom="alle beelden horen bij een opname, of de opname is onderweg",
            facts=facts,
        )
    return Finding(
        check=Check.STRAYS,
        light=Light.ORANGE,
        because=f"came in without the rest of its recording: {_count(count, 'piece', 'pieces')} of footage, "
        f"the first {hours} hours ago",
        waarom=f"binnengekomen zonder de rest van de opname: {_count(count, 'stuk', 'stukken')} beeld, "
        f"het eerste {hours} uur geleden",
        do="place the camera in a dock again, and see whether docks report anything; what never becomes whole is put "
        "apart by itself as a recording in quarantine, and is destroyed in its time",
        doe="zet de camera opnieuw in een dock, en kijk of een dock iets meldt; wat nooit compleet wordt, komt vanzelf "
        "als opname in quarantaine te staan en wordt op tijd vernietigd",
        facts=facts,
    )


def judge_kluis(*, answers: bool) -> Finding:
    """Judge whether the Kluis is there."""
    if answers:
        return Finding(
            check=Check.KLUIS,
            light=Light.GREEN,
            because="the Kluis answers",
            waarom="de Kluis antwoordt",
            facts={"answers": True},
        )
    return Finding(
        check=Check.KLUIS,
        light=Light.RED,
        because="the Kluis does not answer: nobody can view, and nothing can be destroyed",
        waarom="de Kluis antwoordt niet: niemand kan kijken en niets kan worden vernietigd",
        do="start the Kluis; cameras keep what they have until it is back",
        doe="start de Kluis; camera's bewaren wat ze hebben tot hij terug is",
        facts={"answers": False},
    )


def judge_policy(*, in_force: int, kluis: int | None, valid_until: date | None, today: date) -> Finding:
    """Judge whether desk and Kluis follow the same policy, and whether it is still in force."""
    facts = {
        "version": in_force,
        "kluis_version": kluis,
        "valid_until": valid_until.isoformat() if valid_until else None,
    }
    if valid_until is not None and today > valid_until:
        return Finding(
            check=Check.POLICY,
            light=Light.RED,
            because=f"the policy ended on {valid_until}",
            waarom=f"het beleid is op {valid_until:%d-%m-%Y} afgelopen",
            do="have a new version adopted; until then there is no basis to film",
            doe="laat een nieuwe versie vaststellen; tot dan is er geen grondslag om te filmen",
            facts=facts,
        )
    if kluis is not None and kluis != in_force:
        return Finding(
            check=Check.POLICY,
            light=Light.RED,
            because=f"the desk follows version {in_force}, the Kluis version {kluis}",
            waarom=f"de desk volgt versie {in_force}, de Kluis versie {kluis}",
            do="let two officials sign the new policy for the Kluis, on the page of the policy",
            doe="laat twee functionarissen het nieuwe beleid voor de Kluis tekenen, op de pagina Beleid",
            facts=facts,
        )
    return Finding(
        check=Check.POLICY,
        light=Light.GREEN if kluis is not None else Light.ORANGE,
        because=f"version {in_force} is in force"
        + ("" if kluis is not None else "; what the Kluis follows is not known"),
        waarom=f"versie {in_force} geldt" + ("" if kluis is not None else "; wat de Kluis volgt is niet bekend"),
        facts=facts,
    )


def judge_storage(
    *, free_bytes: int, total_bytes: int, reserve_bytes: int, written_s: float | None, written_ago: timedelta | None
) -> Finding:
    """Judge the disk: its room, and the last synced write (None: none succeeded)."""
    facts = {
        "free_bytes": free_bytes,
        "total_bytes": total_bytes,
        "reserve_bytes": reserve_bytes,
        "write_s": written_s,
    }
    if free_bytes < reserve_bytes:
        return _storage(
            Light.RED,
            "the disk is full: no recording is taken in, docks and cameras keep them",
            "de schijf is vol: er komt geen opname meer binnen, docks en camera's bewaren ze",
            "add room now; nothing is lost as long as cameras have room",
            "maak nu ruimte; er gaat niets verloren zolang camera's ruimte hebben",
            facts,
        )
    if written_s is None or written_ago is None or written_ago > PROBE_OLD:
        return _storage(
            Light.RED,
            "nothing can be written",
            "er kan niets worden geschreven",
            "see whether the disk is there, and whether it can still be written to (mount, dmesg)",
            "kijk of de schijf er is, en of erop geschreven mag worden (mount, dmesg)",
            facts,
        )
    if free_bytes - reserve_bytes < total_bytes * FREE_ORANGE_PCT // 100:
        return _storage(
            Light.ORANGE,
            "less than a sixth of the disk is left",
            "minder dan een zesde van de schijf is nog vrij",
            "plan more room",
            "plan meer ruimte",
            facts,
        )
    if written_s > PROBE_SLOW_S:
        return _storage(
            Light.ORANGE,
            f"a small write took {written_s:.1f} s",
            f"een kleine schrijfactie duurde {written_s:.1f} s",
            "see what keeps the disk busy, or whether it is failing",
            "kijk wat de schijf bezighoudt, of dat hij stuk gaat",
            facts,
        )
    return _storage(Light.GREEN, "there is room, and writing works", "er is ruimte en schrijven lukt", "", "", facts)


def _storage(
    light: Light, because: str, waarom: str, do: str, doe: str, facts: Mapping[str, str | int | float | bool | None]
) -> Finding:
    return Finding(check=Check.STORAGE, light=light, because=because, waarom=waarom, do=do, doe=doe, facts=facts)


def judge_broker(*, hearing: bool, services: Mapping[str, str]) -> Finding:
    """Judge whether cameras are heard, and what each service said of itself last."""
    away = sorted(name for name, status in services.items() if status != "online")
    facts: dict[str, str | int | float | bool | None] = {"hearing": hearing, "away": ", ".join(away)}
    if not hearing:
        return Finding(
            check=Check.BROKER,
            light=Light.RED,
            because="no camera is heard: the connection to the broker is gone",
            waarom="geen camera wordt gehoord: de verbinding met de broker is weg",
            do="start the broker; cameras keep every press and tell it afterwards",
            doe="start de broker; camera's bewaren elke druk op de knop en melden die daarna",
            facts=facts,
        )
    if away:
        return Finding(
            check=Check.BROKER,
            light=Light.ORANGE,
            because=f"not connected: {', '.join(away)}",
            waarom=f"niet verbonden: {', '.join(away)}",
            do="look at the cloud's log; a service connects again by itself",
            doe="kijk in het log van de cloud; een dienst verbindt vanzelf opnieuw",
            facts=facts,
        )
    return Finding(
        check=Check.BROKER,
        light=Light.GREEN,
        because="cameras are heard, every service is connected",
        waarom="camera's worden gehoord, elke dienst is verbonden",
        facts=facts,
    )


def judge_alerting(*, screens: int, channels: Mapping[str, bool]) -> Finding:
    """Judge whether an activation reaches anybody: open screens of the desk, and other ways (name -> works)."""
    broken = sorted(name for name, works in channels.items() if not works)
    facts: dict[str, str | int | float | bool | None] = {"screens": screens, "broken": ", ".join(broken)}
    if broken:
        return Finding(
            check=Check.ALERTING,
            light=Light.RED,
            because=f"an alert does not get out by: {', '.join(broken)}",
            waarom=f"een alarm komt niet weg via: {', '.join(broken)}",
            do="send a test message and mend the way it says is broken",
            doe="stuur een proefbericht en herstel de weg die het niet doet",
            facts=facts,
        )
    if screens == 0 and not channels:
        return Finding(
            check=Check.ALERTING,
            light=Light.ORANGE,
            because="no screen of the desk is open, and there is no other way to warn anybody",
            waarom="geen scherm van de desk staat open, en er is geen andere weg om iemand te waarschuwen",
            do="let a coordinator open the page with activations",
            doe="laat een coördinator de pagina Activeringen openen",
            facts=facts,
        )
    return Finding(
        check=Check.ALERTING,
        light=Light.GREEN,
        because="an activation is seen: " + _ways(_count(screens, "screen", "screens"), channels),
        waarom="een activering wordt gezien: " + _ways(_count(screens, "scherm", "schermen"), channels),
        facts=facts,
    )


def _ways(screens: str, channels: Mapping[str, bool]) -> str:
    return ", ".join([screens, *sorted(channels)])


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def judge_certificates(days_left: Mapping[str, int]) -> Finding:
    """Judge how many days each certificate in use has left."""
    ending = sorted((days, name) for name, days in days_left.items() if days < CERTIFICATE_ORANGE_DAYS)
    facts: dict[str, str | int | float | bool | None] = {
        "certificates": len(days_left),
        "least_days": min(days_left.values(), default=None),
        "ending": ", ".join(f"{name} ({days})" for days, name in ending[:20]),
    }
    if not ending:
        return Finding(
            check=Check.CERTIFICATES,
            light=Light.GREEN,
            because=f"all {len(days_left)} certificates were renewed in time",
            waarom=f"alle {len(days_left)} certificaten zijn op tijd vernieuwd",
            facts=facts,
        )
    days, first = ending[0]
    many, left = len(ending), _left(days)
    return Finding(
        check=Check.CERTIFICATES,
        light=Light.RED if days < CERTIFICATE_RED_DAYS else Light.ORANGE,
        because=f"{_count(many, 'certificate is', 'certificates are')} not renewed; {first} {left[0]}",
        waarom=f"{_count(many, 'certificaat is', 'certificaten zijn')} niet vernieuwd; {first} {left[1]}",
        do="place cameras in a dock: there they renew by themselves; give a dock a new one on the page of the "
        "administration",
        doe="zet camera's in een dock: daar vernieuwen ze zelf; geef een dock een nieuw certificaat bij Beheer",
        facts=facts,
    )


def _left(days: int) -> tuple[str, str]:
    """Return how long a certificate lasts, in English and in Dutch."""
    if days < 0:
        return "has expired", "is verlopen"
    return f"has {_count(days, 'day', 'days')} left", f"heeft nog {_count(days, 'dag', 'dagen')}"


def judge_clock(*, behind_ledger_s: float, cameras: int, cameras_ahead_s: float) -> Finding:
    """Judge this machine's clock by others: the ledger's newest entry, and the middle one of the cameras' clocks."""
    facts: dict[str, str | int | float | bool | None] = {
        "behind_ledger_s": round(behind_ledger_s, 1),
        "cameras": cameras,
        "cameras_ahead_s": round(cameras_ahead_s, 1),
    }
    drift = max(behind_ledger_s, abs(cameras_ahead_s) if cameras >= ENOUGH_CAMERAS else 0.0)
    if drift <= CLOCK_ORANGE_S:
        return Finding(
            check=Check.CLOCK,
            light=Light.GREEN,
            because="the clock agrees with the ledger and the cameras",
            waarom="de klok klopt met het logboek en de camera's",
            facts=facts,
        )
    return Finding(
        check=Check.CLOCK,
        light=Light.RED if drift > CLOCK_RED_S else Light.ORANGE,
        because=f"the clock differs {drift:.0f} s from the ledger or the cameras",
        waarom=f"de klok wijkt {drift:.0f} s af van het logboek of de camera's",
        do="see whether this machine keeps its time by a time server (timedatectl)",
        doe="kijk of deze machine haar tijd haalt bij een tijdserver (timedatectl)",
        facts=facts,
    )


def judge_identity(*, provider: str | None, answers: bool) -> Finding:
    """Judge how people get in. `provider` None: with keys registered here, which needs nobody else."""
    facts: dict[str, str | int | float | bool | None] = {"provider": provider or "local", "answers": answers}
    if provider is None:
        return Finding(
            check=Check.IDENTITY,
            light=Light.GREEN,
            because="people sign in here, without the municipality's provider",
            waarom="mensen melden zich hier aan, zonder de aanmelddienst van de gemeente",
            facts=facts,
        )
    if answers:
        return Finding(
            check=Check.IDENTITY,
            light=Light.GREEN,
            because="the municipality's provider answers",
            waarom="de aanmelddienst van de gemeente antwoordt",
            facts=facts,
        )
    return Finding(
        check=Check.IDENTITY,
        light=Light.RED,
        because="the municipality's provider does not answer: nobody new can sign in",
        waarom="de aanmelddienst van de gemeente antwoordt niet: niemand kan zich nieuw aanmelden",
        do="tell its administrator; in an emergency there is the entrance with a security key",
        doe="waarschuw de beheerder ervan; in nood is er de ingang met een beveiligingssleutel",
        facts=facts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Eye:
    """Somebody outside who is asked to look at the ledger, since when, and when that was seen last.

    `refuses`: the last answer was none to believe, or said that this is not the ledger that was shown before.
    """

    every: timedelta
    since: datetime
    seen_at: datetime | None = None
    refuses: bool = False

    def silent_for(self, now: datetime) -> timedelta:
        """How long there was no answer."""
        return now - (self.seen_at or self.since)

    @property
    def patience(self) -> timedelta:
        """How long that is nothing to wake anybody for."""
        return max(3 * self.every, SILENT_RED)


WITNESS, TIMESTAMPS = "witness", "timestamps"
EYES: Final = {
    WITNESS: ("the witness", "de getuige"),
    TIMESTAMPS: ("the time-stamping authority", "de tijdstempeldienst"),
}
"""Who can be asked, in English and Dutch."""


def judge_witness(eyes: Mapping[str, Eye], *, now: datetime) -> Finding:
    """Judge whether anybody outside keeps an eye on the ledger. `eyes`: whom the settings name, by name."""
    refusing = [name for name, eye in eyes.items() if eye.refuses]
    silent = [name for name, eye in eyes.items() if eye.silent_for(now) > eye.patience]
    seen = [eye.seen_at for eye in eyes.values() if eye.seen_at is not None]
    facts: dict[str, str | int | float | bool | None] = {
        "asked": ", ".join(eyes),
        "refusing": ", ".join(refusing),
        "silent": ", ".join(silent),
        "seen_at": max(seen).isoformat() if seen else None,
    }

    def finding(light: Light, because: str, waarom: str, do: str = "", doe: str = "") -> Finding:
        return Finding(check=Check.WITNESS, light=light, because=because, waarom=waarom, do=do, doe=doe, facts=facts)

    if refusing:
        return finding(
            Light.RED,
            f"no signature that holds comes from {_who(refusing, 0)}",
            f"er komt geen handtekening die klopt van {_who(refusing, 1)}",
            "find out why today: they may have been shown another ledger, or have another key than the settings say",
            "zoek vandaag uit waarom: misschien is daar een ander logboek gezien, of klopt de sleutel bij de "
            "instellingen niet",
        )
    if silent:
        days = max(eyes[name].silent_for(now) for name in silent).days
        return finding(
            Light.RED,
            f"nothing was heard for {_count(days, 'day', 'days')} of {_who(silent, 0)}",
            f"al {_count(days, 'dag', 'dagen')} niets gehoord van {_who(silent, 1)}",
            "see whether the address in the settings still answers; the ledger goes on meanwhile",
            "kijk of het adres bij de instellingen nog antwoordt; het logboek gaat intussen door",
        )
    if not eyes:
        return finding(
            Light.ORANGE,
            "nobody outside looks at the ledger",
            "niemand van buiten kijkt naar het logboek",
            "name a witness or a time-stamping authority in the settings; the public page shows the newest promise too",
            "noem een getuige of een tijdstempeldienst bij de instellingen; de pagina Openbaar toont de nieuwste stand",
        )
    if len(seen) < len(eyes):
        waiting = [name for name, eye in eyes.items() if eye.seen_at is None]
        return finding(
            Light.ORANGE,
            f"no answer yet from {_who(waiting, 0)}",
            f"nog geen antwoord van {_who(waiting, 1)}",
            "wait: they are asked again by themselves",
            "wacht af: de vraag wordt vanzelf herhaald",
        )
    return finding(
        Light.GREEN,
        "somebody outside has seen the ledger lately",
        "iemand van buiten heeft het logboek onlangs gezien",
    )


def _who(names: list[str], language: int) -> str:
    return (" and ", " en ")[language].join(EYES[name][language] for name in names)
