"""An agent's Sparkplug session obeys the specification 3.0, rule by rule (tck ids beside them).

Births come first and whole, one seq counts for all, the will bears the bdSeq of its birth, a
rebirth repeats everything but the bdSeq, and the primary host's STATE opens and closes the gate.
"""

import pytest

from gateway.sparkplug import DataType, names, parse_topic
from tests.gateway.delivery.ends import AGENT, HOST, SITE, AgentEnd, kinds, metrics, payload


@pytest.fixture
def agent(tmp_path):
    agent = AgentEnd(tmp_path)
    yield agent
    agent.journal.close()


@pytest.fixture
def gated(tmp_path):
    folder = tmp_path / "gated"
    folder.mkdir()
    agent = AgentEnd(folder, host=HOST)
    yield agent
    agent.journal.close()


@pytest.mark.tck(
    "topics-nbirth-seq-num",
    "payloads-nbirth-seq",
    "principles-birth-certificates-order",
    "payloads-dbirth-order",
    "message-flow-device-birth-publish-nbirth-wait",
    "operational-behavior-data-publish-nbirth",
)
def test_the_first_messages_are_nbirth_with_seq_0_and_every_dbirth(agent):
    agent.connect()
    agent.record()

    assert kinds(agent.published) == ["NBIRTH", "DBIRTH", "DBIRTH", "DDATA"]
    assert [payload(message).seq for message in agent.published] == [0, 1, 2, 3]


@pytest.mark.tck(
    "topics-ndata-seq-num",
    "topics-ddata-seq-num",
    "payloads-sequence-num-incrementing",
    "payloads-sequence-num-always-included",
)
def test_seq_counts_over_node_and_devices_and_wraps_after_255(agent):
    agent.connect(answered=True)
    for n in range(300):
        agent.record(machine=f"m{n % 2 + 1}")
        agent.ack(n + 1)

    seqs = [payload(message).seq for message in agent.published]
    assert seqs == [n % 256 for n in range(303)]


@pytest.mark.tck(
    "topics-nbirth-mqtt",
    "topics-dbirth-mqtt",
    "topics-ddata-mqtt",
    "payloads-nbirth-qos",
    "payloads-nbirth-retain",
    "payloads-ddata-qos",
    "payloads-ddata-retain",
)
def test_births_and_data_have_qos_0_and_are_not_retained(agent):
    agent.connect()
    agent.record()

    assert all(message.qos == 0 and not message.retain for message in agent.published)


@pytest.mark.tck(
    "payloads-ndeath-will-message",
    "payloads-ndeath-will-message-qos",
    "payloads-ndeath-will-message-retain",
    "topics-ndeath-payload",
    "payloads-ndeath-bdseq",
    "topics-ndeath-seq",
    "topics-nbirth-bdseq-matching",
    "payloads-nbirth-bdseq",
)
def test_the_will_is_ndeath_with_the_bdseq_of_the_birth_and_nothing_else(agent):
    will = agent.connect()

    assert parse_topic(will.topic).kind == "NDEATH"
    assert (will.qos, will.retain, payload(will).seq) == (1, False, None)
    assert list(metrics(will)) == [names.BDSEQ]
    birth = metrics(agent.published[0])[names.BDSEQ]
    assert (birth.value, birth.datatype) == (metrics(will)[names.BDSEQ].value, DataType.INT64)


@pytest.mark.tck(
    "topics-nbirth-bdseq-increment",
    "message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
)
def test_bdseq_starts_at_0_grows_with_each_connect_survives_restarts_and_wraps(agent):
    seen = []
    for n in range(258):
        seen.append(metrics(agent.connect())[names.BDSEQ].value)
        agent.sender.disconnected(n)
        if n % 100 == 50:
            agent.restart()

    assert seen == [n % 256 for n in range(258)]


@pytest.mark.tck(
    "topics-nbirth-rebirth-metric",
    "payloads-nbirth-rebirth-req",
    "operational-behavior-data-commands-rebirth-name",
    "operational-behavior-data-commands-rebirth-datatype",
    "operational-behavior-data-commands-rebirth-value",
    "operational-behavior-data-commands-rebirth-name-aliases",
    "topics-nbirth-metrics",
    "payloads-name-birth-data-requirement",
    "topics-nbirth-timestamp",
)
def test_the_node_birth_declares_all_that_the_session_may_carry(agent):
    agent.connect()
    declared = metrics(agent.published[0])
    rebirth = declared[names.REBIRTH]

    assert (rebirth.value, rebirth.datatype, rebirth.alias) == (False, DataType.BOOLEAN, None)
    assert declared[names.PROTOCOL].value == 1
    assert declared[names.VERSION].value == "1.2.3"
    assert declared[names.EPOCH].value == agent.journal.epoch
    assert (declared[names.FIRST].value, declared[names.NEXT].value) == (1, 1)
    for name in (names.ACK_HOST, names.ACK_SESSION, names.ACK_RANGES, names.ENTRY, names.DROPPED):
        assert declared[name].value is None
        assert declared[name].datatype is not None
    assert all(metric.time_ms is not None for metric in declared.values())
    assert payload(agent.published[0]).time_ms is not None


@pytest.mark.tck(
    "topics-dbirth-metrics",
    "payloads-alias-birth-requirement",
    "payloads-alias-data-cmd-requirement",
    "payloads-alias-uniqueness",
    "operational-behavior-data-publish-dbirth-values",
)
def test_births_give_name_and_alias_and_data_the_alias_alone(agent):
    agent.connect(answered=True)
    data = agent.record()[0]
    births = [metrics(message) for message in agent.published if kinds([message]) == ["DBIRTH"]]

    assert births[0]["speed"].value == 1.5
    assert births[0]["count"].value is None
    aliases = [m.alias for birth in births for m in birth.values() if m.alias is not None]
    assert len(aliases) == len(set(aliases)) == 4
    value, entry = payload(data).metrics
    assert (value.name, value.alias, value.datatype) == (None, 128, None)
    assert (entry.name, entry.alias) == (names.ENTRY, None)
    assert names.ENTRY in births[0]


@pytest.mark.tck(
    "operational-behavior-data-commands-rebirth-action-1",
    "operational-behavior-data-commands-rebirth-action-2",
    "operational-behavior-data-commands-rebirth-action-3",
    "payloads-nbirth-bdseq-repeat",
)
def test_a_rebirth_repeats_all_births_under_the_same_bdseq(agent):
    agent.connect(answered=True)
    first = agent.published[0]
    agent.record(3)
    said = agent.rebirth()

    assert kinds(said) == ["NBIRTH", "DBIRTH", "DBIRTH"]
    assert metrics(said[0])[names.BDSEQ].value == metrics(first)[names.BDSEQ].value
    assert payload(said[0]).seq == 0
    assert metrics(said[0])[names.NEXT].value == 4


def test_many_requests_for_a_rebirth_get_one_per_five_seconds(agent):
    agent.connect(answered=True)
    said = [message for _ in range(50) for message in agent.rebirth()]
    assert kinds(said).count("NBIRTH") == 1
    said = agent.advance(5_000)
    assert kinds(said).count("NBIRTH") == 1


@pytest.mark.tck("operational-behavior-device-ddeath", "topics-ddeath-seq-num")
def test_a_machine_that_goes_dies_and_one_that_comes_is_born_without_a_rebirth(agent):
    agent.connect(answered=True)
    agent.machines = ["m2", "m3"]
    agent.sender.births_changed(0)
    said = agent.poll()

    topics = [
        (parse_topic(message.topic).kind, parse_topic(message.topic).device) for message in said
    ]
    assert topics == [("DDEATH", "m1"), ("DBIRTH", "m3")]
    assert [payload(message).seq for message in said] == [3, 4]


@pytest.mark.tck("payloads-ddata-order")
def test_data_of_a_machine_not_yet_announced_waits_for_its_dbirth(agent):
    agent.connect(answered=True)
    agent.machines.append("m3")

    assert kinds(agent.record(machine="m3")) == ["DBIRTH", "DDATA"]


@pytest.mark.tck(
    "message-flow-edge-node-birth-publish-phid-wait",
    "message-flow-edge-node-birth-publish-phid-wait-id",
    "message-flow-edge-node-birth-publish-phid-wait-online",
    "operational-behavior-edge-node-birth-sequence-wait",
)
def test_with_a_primary_host_nothing_is_said_before_it_is_online(gated):
    gated.connect()
    gated.record()
    assert gated.published == []
    assert gated.state(online=True, time_ms=5, host="other") == []
    assert gated.state(online=False, time_ms=5) == []

    assert kinds(gated.state(online=True, time_ms=5))[0] == "NBIRTH"


@pytest.mark.tck(
    "message-flow-edge-node-birth-publish-phid-offline",
    "operational-behavior-edge-node-termination-host-offline",
    "operational-behavior-edge-node-termination-host-offline-reconnect",
)
def test_when_the_primary_host_goes_the_node_dies_and_starts_over(gated):
    gated.connect()
    gated.state(online=True, time_ms=5)
    said = gated.state(online=False, time_ms=5)

    assert kinds(said) == ["NDEATH"]
    assert gated.sender.wants_reconnect
    gated.sender.disconnected(0)
    gated.connect()
    assert kinds(gated.state(online=True, time_ms=2))[0] == "NBIRTH"  # the first is believed


@pytest.mark.tck(
    "operational-behavior-edge-node-termination-host-offline-timestamp",
    "message-flow-edge-node-birth-publish-phid-wait-timestamp",
)
def test_a_state_older_than_the_last_online_one_is_ignored(gated):
    gated.connect()
    gated.state(online=True, time_ms=100)

    assert gated.state(online=False, time_ms=99) == []
    assert gated.sender.status().host_online is True


@pytest.mark.parametrize(
    "text", [b"ONLINE", b"OFFLINE", b"", b"[]", b'{"online":1,"timestamp":5}', b"[" * 5_000]
)
def test_a_state_that_is_none_is_ignored(gated, text):
    gated.connect()
    gated.sender.received(f"spBv1.0/STATE/{HOST}", text, 0)
    gated.sender.received(f"STATE/{HOST}", b"ONLINE", 0)

    assert gated.poll() == []


@pytest.mark.tck(
    "payloads-ndeath-will-message-publisher",
    "operational-behavior-edge-node-intentional-disconnect-ndeath",
)
def test_leaving_in_order_says_ndeath_first(agent):
    will = agent.connect()
    said = agent.sender.leaving(0)

    assert kinds(said) == ["NDEATH"]
    assert metrics(said[0])[names.BDSEQ].value == metrics(will)[names.BDSEQ].value


@pytest.mark.tck("message-flow-edge-node-ncmd-subscribe")
def test_it_subscribes_its_own_commands_and_the_host_at_qos_1(agent, gated):
    assert (f"spBv1.0/{SITE}/NCMD/{AGENT}", 1) in agent.sender.subscriptions()
    assert (f"spBv1.0/STATE/{HOST}", 1) in gated.sender.subscriptions()
