"""Topics are read and written exactly; ids of foreign nodes survive unchanged."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sparkplug import (
    SparkplugError,
    Topic,
    format_topic,
    parse_topic,
    quote_level,
    state_topic,
    unquote_level,
)

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ids = st.text(
    st.characters(exclude_characters="+/#\0", exclude_categories=("Cs",)), min_size=1, max_size=40
)
NODE_KINDS = ["NBIRTH", "NDATA", "NDEATH", "NCMD"]
DEVICE_KINDS = ["DBIRTH", "DDATA", "DDEATH", "DCMD"]


@pytest.mark.tck("topic-structure-namespace-a")
@pytest.mark.tck("topic-structure")
def test_a_topic_is_namespace_group_kind_node_device():
    topic = format_topic("DDATA", "ota-precision", "line-1", "mc-100")

    assert topic == "spBv1.0/ota-precision/DDATA/line-1/mc-100"
    assert parse_topic(topic) == Topic("DDATA", "ota-precision", "line-1", "mc-100")


@pytest.mark.tck(
    "topic-structure-namespace-valid-group-id",
    "topic-structure-namespace-valid-edge-node-id",
    "topic-structure-namespace-valid-device-id",
    "intro-group-id-string",
    "intro-edge-node-id-string",
    "intro-device-id-string",
)
@unhurried
@given(ids.filter(lambda group: group != "STATE"), ids, ids)
def test_any_text_can_be_an_id_and_comes_back_as_it_was(group, node, device):
    for kind in NODE_KINDS:
        assert parse_topic(format_topic(kind, group, node)) == Topic(kind, group, node)
    for kind in DEVICE_KINDS:
        assert parse_topic(format_topic(kind, group, node, device)) == Topic(
            kind, group, node, device
        )


@pytest.mark.tck(
    "intro-group-id-chars",
    "intro-edge-node-id-chars",
    "intro-device-id-chars",
)
@pytest.mark.parametrize("bad", ["", "a+b", "a/b", "a#", "a\0b", "\ud800"])
@pytest.mark.parametrize("place", range(3))
def test_what_mqtt_forbids_in_a_level_is_no_id(bad, place):
    levels = ["site", "agent", "machine"]
    levels[place] = bad

    with pytest.raises(SparkplugError):
        format_topic("DDATA", *levels)


@pytest.mark.tck("topic-structure-namespace-device-id-associated-message-types")
@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_a_device_message_names_its_device(kind):
    with pytest.raises(SparkplugError):
        format_topic(kind, "site", "agent")
    with pytest.raises(SparkplugError):
        parse_topic(f"spBv1.0/site/{kind}/agent")


@pytest.mark.tck("topic-structure-namespace-device-id-non-associated-message-types")
@pytest.mark.parametrize("kind", NODE_KINDS)
def test_a_node_message_names_no_device(kind):
    with pytest.raises(SparkplugError):
        format_topic(kind, "site", "agent", "machine")
    with pytest.raises(SparkplugError):
        parse_topic(f"spBv1.0/site/{kind}/agent/machine")


@pytest.mark.tck("host-topic-phid-birth-topic", "host-topic-phid-death-topic")
def test_a_host_is_announced_below_the_namespace():
    assert state_topic("machikoba") == "spBv1.0/STATE/machikoba"
    assert parse_topic("spBv1.0/STATE/machikoba") == Topic("STATE", "", "machikoba")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "spBv1.0",
        "spBv1.0/site",
        "spAv1.0/site/NDATA/agent",
        "spBv1.0/site/XDATA/agent",
        "spBv1.0/site/ndata/agent",
        "spBv1.0/site/DDATA/agent/machine/more",
        "spBv1.0//NDATA/agent",
        "spBv1.0/STATE/",
        "STATE/host",
        "spBv1.0/site/NDATA/" + "x" * 65_536,
    ],
)
def test_other_topics_are_refused(topic):
    with pytest.raises(SparkplugError):
        parse_topic(topic)


def test_a_group_cannot_pose_as_a_host():
    with pytest.raises(SparkplugError):
        format_topic("NDATA", "STATE", "agent")


@unhurried
@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_quoting_makes_one_level_and_can_be_undone(text):
    level = quote_level(text)

    assert set("+/#\0 ?%").isdisjoint(level.replace("%", ""))
    assert unquote_level(level) == text


def test_quoting_that_is_not_ours_is_refused():
    with pytest.raises(SparkplugError):
        unquote_level("%ff")


@unhurried
@given(st.text())
def test_any_text_gives_a_topic_or_our_error(text):
    try:
        topic = parse_topic(text)
    except SparkplugError:
        return
    assert topic.node
