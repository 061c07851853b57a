from itertools import product
from uuid import UUID

import pytest

from broker.embedded import subject
from broker.rules.access import SERVICES, TABLE, Rights, Role, allows, rights
from broker.wire import topics
from broker.wire.ids import DeviceId, RecordingId, parse_device, parse_org

TOWN = parse_org("dorpstad")
OTHER = parse_org("anderstad")
ID = parse_device("dev-01")
RECORDING_SHARD = "7"


def every_topic(org: str, device: str) -> list[str]:
    """One topic of each row."""
    fill = {"{id}": device, "{kind}": "activation", "{shard}": RECORDING_SHARD}
    return ["/".join([topics.ROOT, org, *(fill.get(level, level) for level in row.topic.split("/"))]) for row in TABLE]


def test_every_row_is_a_topic_of_the_wire() -> None:
    for text in every_topic(TOWN, ID):
        assert str(topics.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vo/v1",
        "vo/v2/dorpstad/cam/cam-01/state",
        "/vo/v1/dorpstad/cam/cam-01/state",
        "vo/v1/dorpstad/cam/cam-01/other",
        "vo/v1/dorpstad/cam/CAM 01/state",
        "vo/v1/dorpstad/dock/d-01/tlm",
        "vo/v1/dorpstad/retention/due/g",
    ],
)
def test_what_is_no_topic_of_the_wire_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        topics.parse(text)


def test_a_recording_is_spoken_of_in_one_shard() -> None:
    assert topics.retention_shard(RecordingId(UUID(int=7))) == "6"


@pytest.mark.parametrize("role", [Role.CAMERA, Role.DOCK])
def test_a_device_speaks_and_hears_on_its_own_topics_only(role: Role) -> None:
    own = rights(role, TOWN, ID)
    for topic in every_topic(TOWN, "dev-02"):
        assert not allows(own.publish, topic), topic
        assert not allows(own.subscribe, topic), topic


@pytest.mark.rule("E-47")
@pytest.mark.parametrize("role", list(Role))
def test_no_identity_reaches_another_municipality(role: Role) -> None:
    own = rights(role, TOWN, ID)
    for topic in every_topic(OTHER, ID):
        assert not allows(own.publish + own.subscribe, topic)


def test_nobody_publishes_and_hears_the_same_topic_but_on_its_own_state() -> None:
    for role in Role:
        own = rights(role, TOWN, ID)
        for topic in every_topic(TOWN, ID):
            both = allows(own.publish, topic) and allows(own.subscribe, topic)
            assert not both or (role in SERVICES and topic.endswith(f"svc/{ID}/state")), (role, topic)


@pytest.mark.parametrize(
    ("topic", "only"),
    [
        (topics.retention_due(TOWN, "a"), {Role.RETENTION_CLOCK}),
        (topics.retention_outcome(TOWN, "destroyed"), {Role.RETENTION_WORKER}),
        (topics.camera_command(TOWN, ID, "start"), {Role.COMMAND}),
        (topics.camera_desired(TOWN, ID), {Role.FLEET, Role.REGISTRAR}),
        (topics.camera_receipt(TOWN, ID), {Role.FLEET}),
        (topics.camera_event(TOWN, ID, "activation"), {Role.CAMERA}),
        (topics.camera_state(TOWN, ID), {Role.CAMERA, Role.REGISTRAR}),
        (topics.dock_state(TOWN, ID), {Role.DOCK}),
        (topics.service_state(TOWN, ID), set(SERVICES)),
    ],
)
def test_each_topic_has_exactly_its_publishers(topic: str, only: set[Role]) -> None:
    assert {role for role in Role if allows(rights(role, TOWN, ID).publish, topic)} == only


def test_a_camera_says_how_it_is_and_hears_only_orders_settings_and_receipts_of_its_own() -> None:
    own = "vo/v1/dorpstad/cam/dev-01"
    assert rights(Role.CAMERA, TOWN, ID) == Rights(
        publish=(f"{own}/state", f"{own}/tlm", f"{own}/evt/+"),
        subscribe=(f"{own}/cmd/#", f"{own}/desired", f"{own}/rcpt"),
    )


def test_the_fleet_service_answers_every_camera_and_hears_all_but_orders() -> None:
    town = "vo/v1/dorpstad"
    assert rights(Role.FLEET, TOWN, ID) == Rights(
        publish=(f"{town}/cam/+/desired", f"{town}/cam/+/rcpt", f"{town}/svc/dev-01/state"),
        subscribe=(
            *(f"{town}/cam/+/state", f"{town}/cam/+/tlm", f"{town}/cam/+/evt/#"),
            *(f"{town}/dock/+/state", f"{town}/dock/+/evt/#"),
            *(f"{town}/retention/evt/#", f"{town}/svc/+/state"),
        ),
    )


def test_the_observer_hears_everything_of_its_municipality_and_says_nothing() -> None:
    own = rights(Role.OBSERVER, TOWN, ID)
    assert own.publish == ()
    assert all(allows(own.subscribe, topic) for topic in every_topic(TOWN, "dev-02"))


def test_a_broker_has_no_rights_of_its_own() -> None:
    own = rights(Role.BROKER, TOWN, ID)
    assert own.publish == own.subscribe == ()


def test_no_two_filters_of_one_role_overlap() -> None:
    """A message that matches two subscriptions comes twice, or at the lower QoS: brokers differ."""
    for role, topic in product(Role, every_topic(TOWN, ID)):
        own = rights(role, TOWN, DeviceId(ID))
        assert sum(allows([pattern], topic) for pattern in own.subscribe) <= 1
        assert sum(allows([pattern], topic) for pattern in own.publish) <= 1


@pytest.mark.parametrize(
    ("pattern", "topic", "covered"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("a/b", "a/bb", False),
        ("+", "a/b", False),
    ],
)
def test_filters_cover_what_mqtt_says(pattern: str, topic: str, covered: bool) -> None:
    assert allows([pattern], topic) is covered


def test_a_filter_with_everything_below_is_two_subjects() -> None:
    assert subject("a/b/#") == ("a.b", "a.b.>")
    assert subject("a/+/c") == ("a.*.c",)
