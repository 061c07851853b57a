"""What people call the closed words of the database: kinds of case, states, acts in the ledger."""

from collections.abc import Mapping

from cloud.desk.words import Words


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
        "activation.received": words("knop ingedrukt"),
        "activation.acknowledged": words("alarm gezien"),
        "recording.received": words("opname ontvangen"),
        "recording.quarantined": words("opname apart gezet"),
        "recording.restricted": words("opname beperkt"),
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
        "disclosure.made": words("beelden verstrekt"),
        "clock.moved": words("klok vooruit gezet"),
    }
