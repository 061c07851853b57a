"""What broker/ tells its readers is what the code says."""

import json
import re
from pathlib import Path

import yaml

from broker import asyncapi
from broker.embedded import PINNED
from broker.rules.access import TABLE, Role, table
from broker.wire import events, topics

BROKER = Path(__file__).parents[3] / "broker"
README = (BROKER / "README.md").read_text()


def test_the_table_in_the_readme_is_the_one_brokers_are_configured_from() -> None:
    assert table() in README
    assert len(table().splitlines()) == len(TABLE) + 2


def test_asyncapi_yaml_is_made_from_the_wire() -> None:
    written = (BROKER / "asyncapi.yaml").read_text()
    assert written == asyncapi.text(), "run: python -m broker.asyncapi > broker/asyncapi.yaml"
    read = yaml.safe_load(written)
    assert read == json.loads(json.dumps(asyncapi.document()))
    assert set(read["components"]["messages"]) == {said.__name__ for said in events.TYPES.values()}
    spoken = {name for channel in read["channels"].values() for name in channel["messages"]}
    assert spoken == set(read["components"]["messages"]), "each message crosses some topic"


def test_every_reference_in_asyncapi_yaml_leads_somewhere() -> None:
    document = asyncapi.document()
    for reference in re.findall(r'"#/([^"]+)"', asyncapi.text()):
        at = document
        for step in reference.split("/"):
            at = at[step]


def test_the_event_in_the_readme_is_an_event() -> None:
    block = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert block is not None
    event = events.decode(block[1].encode())
    assert isinstance(event.said, events.Activation)
    topic = re.search(r"-t (vo/v1/\S+/evt/\S+)", README)
    assert topic is not None
    spoken = topics.parse(topic[1])
    assert spoken.kind == events.kind_of(event.said)
    assert events.device_of(event.source) == (spoken.org, "cam", spoken.owner)


def test_the_readme_names_the_pinned_broker_and_only_files_that_exist() -> None:
    assert f"nats-server {PINNED} of" in README
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (BROKER / link).exists(), link


def test_every_role_that_speaks_or_hears_is_in_the_table() -> None:
    named = {role for row in TABLE for role in (*row.publishers, *row.subscribers)}
    assert named == set(Role) - {Role.OBSERVER, Role.BROKER}
