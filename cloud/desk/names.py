"""What people call the closed words of the database: kinds of case, states, acts in the ledger."""

from collections.abc import Mapping

from cloud.desk.words import Words


def nobodies(words: Words) -> dict[str, str]:
    """Return what they are called who act or appoint and are nobody: by the name they have where people have theirs."""
    return {"system": words("het systeem"), "founding": words("bij de inrichting")}


def case_kinds(words: Words) -> Mapping[str, str]:
    """Return what each kind of case is called."""
    return {
        "access_request": words("verzoek tot inzage"),
        "complaint": words("klacht"),
        "aangifte": words("aangifte"),
        "om_demand": words("vordering van het Openbaar Ministerie"),
        "om_request": words("verzoek van het Openbaar Ministerie"),
        "learning": words("leerervaring"),
        "other_legal": words("andere juridische reden"),
        "integrity_investigation": words("integriteitsonderzoek"),
        "incident_evaluation": words("evaluatie van een incident"),
        "processing_objection": words("bezwaar tegen het filmen"),
    }


def recording_states(words: Words) -> Mapping[str, tuple[str, str]]:
    """Return what each state of a recording is called, and how its badge looks."""
    return {
        "announced": (words("aangekondigd"), ""),
        "receiving": (words("komt binnen"), "info"),
        "verifying": (words("wordt gecontroleerd"), "info"),
        "retained": (words("bewaard"), "good"),
        "held": (words("bewaarplicht"), "hold"),
        "due": (words("termijn voorbij"), "warn"),
        "destroying": (words("wordt vernietigd"), "warn"),
        "destroyed": (words("vernietigd"), ""),
        "quarantined": (words("apart gezet"), "bad"),
        "restricted": (words("beperkt"), "bad"),
        "lost": (words("nooit aangekomen"), "bad"),
    }


def chain_states(words: Words) -> Mapping[str, str]:
    """Return what the verdict on a recording's chain is called."""
    return {
        "intact": words("ongeschonden en volledig"),
        "intact with gaps": words("ongeschonden, met onderbrekingen"),
        "open": words("niet afgesloten"),
        "salvaged": words("gered na een onderbreking"),
        "tampered": words("veranderd"),
    }


def ledger_kinds(words: Words) -> Mapping[str, str]:
    """Return what each act in the ledger is called."""
    return {
        "camera.enrolled": words("camera ingeschreven"),
        "camera.revoked": words("camera ingetrokken"),
        "camera.assigned": words("camera ingedeeld"),
        "dock.enrolled": words("dock ingeschreven"),
        "dock.certified": words("dockcertificaat gegeven"),
        "dock.revoked": words("dock ingetrokken"),
        "rights.reviewed": words("rechten nagelopen"),
        "program.asked": words("account van een programma gevraagd"),
        "program.confirmed": words("programma toegelaten"),
        "program.issued": words("token van een programma getoond"),
        "program.ended": words("programma gestopt"),
        "activation.received": words("knop ingedrukt"),
        "activation.acknowledged": words("alarm gezien"),
        "recording.received": words("opname ontvangen"),
        "recording.quarantined": words("opname apart gezet"),
        "recording.restricted": words("opname beperkt"),
        "apart.proposed": words("besluit over apart gezette beelden voorgesteld"),
        "apart.withdrawn": words("voorstel over apart gezette beelden vervallen"),
        "recording.admitted": words("opname toegelaten op verklaring"),
        "recording.left-apart": words("opname apart gelaten"),
        "case.registered": words("dossier vastgelegd"),
        "hold.placed": words("bewaarplicht opgelegd"),
        "hold.released": words("bewaarplicht opgeheven"),
        "viewing.requested": words("bekijken gevraagd"),
        "viewing.approved": words("bekijken goedgekeurd"),
        "viewing.refused": words("bekijken geweigerd"),
        "viewing.released": words("sleutels vrijgegeven"),
        "viewing.watched": words("beelden bekeken"),
        "viewing.closed": words("kijkkamer gesloten"),
        "retention.destroying": words("vernietiging begonnen"),
        "retention.destroyed": words("vernietigd"),
        "denial": words("geweigerd"),
        "policy.adopted": words("beleid vastgesteld"),
        "roster.changed": words("functies gewijzigd"),
        "key.registered": words("sleutel geregistreerd"),
        "key.withdrawn": words("sleutel ingetrokken"),
        "emergency.used": words("noodingang gebruikt"),
        "emergency.seen": words("gebruik van de noodingang gezien"),
        "report.submitted": words("gebruik gemeld"),
        "case.moved": words("stap in dossier"),
        "case.confirmed": words("noodrem bevestigd"),
        "case.closed": words("dossier gesloten"),
        "hold.lapsed": words("bewaarplicht vervallen"),
        "hold.kept": words("bewaarplicht blijft"),
        "destruction.proposed": words("vernietiging voorgesteld"),
        "destruction.withdrawn": words("voorstel tot vernietiging vervallen"),
        "disclosure.prepared": words("verstrekking voorbereid"),
        "disclosure.approved": words("verstrekking goedgekeurd"),
        "disclosure.received": words("ontvangst bevestigd"),
        "disclosure.withdrawn": words("verstrekking ingetrokken"),
        "incident.opened": words("voorval vastgelegd"),
        "incident.joined": words("opname bij voorval gevoegd"),
        "wearer.corrected": words("drager verbeterd"),
        "recording.decided": words("besluit over beperkte opname"),
        "redaction.made": words("onherkenbare opname gemaakt"),
        "survey.asked": words("vragenlijst uitgezet"),
        "policy.refused": words("beleid geweigerd"),
        "destruction.confirmed": words("vernietiging bevestigd"),
        "hold.release-asked": words("opheffen gevraagd"),
        "command.given": words("opdracht aan camera"),
        "figures.counted": words("kwartaal geteld"),
        "disclosure.made": words("beelden verstrekt"),
        "clock.moved": words("klok vooruit gezet"),
    }


def refusals(words: Words) -> Mapping[str, tuple[str, str]]:
    """Return what each refusal means to a person at the desk, and what that person can do; by the name of its code."""
    later = words("Probeer het over een paar minuten opnieuw. Blijft het zo? Vraag de beheerder.")
    look_again = words("Ga terug, laad de pagina opnieuw en kijk hoe het nu staat.")
    return {
        "MALFORMED": (
            words("Er klopt iets niet in wat u invulde."),
            words("Ga terug, kijk het na en probeer het opnieuw."),
        ),
        "NOT_SIGNED_IN": (words("U bent niet aangemeld."), words("Meld u aan en probeer het opnieuw.")),
        "NOT_ALLOWED": (words("Dit mag u niet."), words("Vraag iemand die het wel mag. Het staat in het logboek.")),
        "NOT_FOUND": (words("Dit bestaat niet, of niet meer."), words("Kijk of het adres klopt.")),
        "CONFLICT": (words("Dit kan nu niet: er is intussen iets veranderd."), look_again),
        "UNDER_HOLD": (words("Dit kan niet: er geldt een bewaarplicht."), words("Hef die eerst op, in het dossier.")),
        "DESTROYED": (words("De beelden zijn vernietigd."), ""),
        "TOO_LARGE": (words("Wat u stuurde is te groot."), words("Kies een kleiner bestand of maak de tekst korter.")),
        "TOO_MANY": (words("Dit is te vaak gevraagd."), later),
        "UNAVAILABLE": (words("Een deel van het systeem antwoordt niet."), later),
        "LEDGER_UNWRITABLE": (words("Het logboek kan niet worden geschreven. Zonder logboek gebeurt er niets."), later),
        "DISK_FULL": (words("De opslag is vol."), later),
        "UNKNOWN_IDENTITY": (words("Dit apparaat of deze sleutel is hier niet bekend."), words("Vraag de beheerder.")),
        "BAD_SIGNATURE": (words("De handtekening klopt niet."), look_again),
    }
