"""From messages to the inbox, live state and the historian, driven by hand.

Promised: what is acknowledged is stored; births are state and not history; an entry decodes after
any restart; two agents never speak for one machine; nothing that arrives ends ingest or is lost
without being counted.
"""

import json
import random

import pytest

from gateway.model import Connectivity, Quality, Reason, State
from gateway.sparkplug import DataType, Metric, Payload, data_message, decode, encode, names
from tests.hub.ingest.scenes import ALL_TIME, NOW, SITE, Agent, Clock, Hub


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hub(tmp_path, clock):
    hub = Hub(tmp_path, now_ms=clock)
    yield hub
    hub.abandon()


@pytest.fixture
def agent(tmp_path, clock):
    agent = Agent(tmp_path, now_ms=clock)
    yield agent
    agent.journal.close()


def converse(hub, agent, clock, *, turns=6, step_ms=250):
    """Carry messages both ways until both are content."""
    for _ in range(turns):
        agent.take(hub.step(agent.poll()))
        clock.now_ms += step_ms


def test_what_an_agent_records_is_shown_stored_and_acknowledged(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)
    agent.record("mc-1", ("count", 1.0), ("door", True), ("job", "A-17"))
    agent.record("mc-1", ("count", 2.0, clock.now_ms + 1))
    converse(hub, agent, clock)
    hub.write()

    assert hub.values("mc-1") == {"count": 2.0, "door": True, "job": "A-17"}
    assert [value for _, value in hub.stored("mc-1", "count")] == [1.0, 2.0]
    assert agent.sender.status().settled == 2
    assert hub.counters.samples == 4
    assert hub.counters.duplicates == 0


def test_the_machine_is_described_by_its_birth(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)

    assert hub.pipeline._sessions.facts() == {}  # kept, and not written again with each commit
    record = hub.registry.machine("ota", "mc-1")
    assert (record.name, record.kind, record.processes) == ({"en": "Mill"}, "mill", ("milling",))
    assert [signal.name for signal in record.signals] == ["count", "door", "job"]
    assert hub.live.machine("ota", "mc-1").kind == "mill"


def test_state_link_and_freshness_reach_the_live_row_and_the_timeline(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)
    agent.record(
        "mc-1",
        (names.STATE, "idle", NOW),
        (names.STATE_REASON, "no-job", NOW),
        (names.LINK, True),
        (names.READ_AT, clock.now_ms),
        (names.MAX_AGE, 10_000),
    )
    converse(hub, agent, clock)
    hub.write()

    machine = hub.live.machine("ota", "mc-1")
    assert machine.connectivity(clock.now_ms) is Connectivity.ONLINE
    assert (machine.state, machine.reason, machine.since_ms) == (State.IDLE, "no-job", NOW)
    assert machine.free_now(clock.now_ms)
    [interval] = hub.historian.states(SITE, "mc-1", ALL_TIME)
    assert (interval.state, interval.reason, interval.source) == (State.IDLE, "no-job", "edge")
    assert hub.stored("mc-1", names.READ_AT) == []


def test_a_rebirth_changes_the_live_state_and_adds_no_history(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)
    agent.record("mc-1", ("count", 1.0))
    converse(hub, agent, clock)
    agent.last["mc-1", "count"] = (5.0, clock.now_ms)
    agent.sender.disconnected(clock.now_ms)
    agent.connect()
    converse(hub, agent, clock)
    hub.write()

    assert hub.values("mc-1")["count"] == 5.0
    assert [value for _, value in hub.stored("mc-1", "count")] == [1.0]


def test_values_sent_before_the_birth_is_answered_are_shown_and_not_stored(hub, agent):
    agent.connect()
    sent = agent.poll()
    agent.record("mc-1", ("count", 1.0))
    hub.step([*sent, *agent.poll()])
    hub.write()

    assert hub.values("mc-1")["count"] == 1.0
    assert hub.stored("mc-1", "count") == []
    assert hub.counters.rejected == {}
    assert hub.counters.duplicates == 0


def test_a_failed_read_is_stored_as_bad_with_its_reason(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)
    agent.record("mc-1", ("count", None))
    converse(hub, agent, clock)
    hub.write()

    [row] = hub.historian.range(SITE, "mc-1", "count", ALL_TIME, points_max=9, raw=True).rows
    assert (row[1], row[2]) == (None, Quality.BAD)


def test_restart_brings_back_live_state_decodes_what_comes_and_asks_one_rebirth(
    hub, agent, clock, tmp_path
):
    agent.connect()
    converse(hub, agent, clock)
    agent.record("mc-1", ("count", 1.0), (names.STATE, "idle"), (names.LINK, True))
    agent.record("mc-1", (names.READ_AT, clock.now_ms), (names.MAX_AGE, 60_000))
    converse(hub, agent, clock)
    hub.write()
    agent.record("mc-1", ("count", 2.0))
    converse(hub, agent, clock, turns=2)
    hub.abandon()

    again = Hub(tmp_path, now_ms=clock, seed=3)
    assert again.values("mc-1")["count"] == 2.0  # written to the inbox only
    machine = again.live.machine(SITE, "mc-1")
    assert (machine.state, machine.name) == (State.IDLE, {"en": "Mill"})
    assert machine.connectivity(clock.now_ms) is Connectivity.STALE
    assert not machine.free_now(clock.now_ms)

    agent.record("mc-1", ("count", 3.0), (names.READ_AT, clock.now_ms), (names.MAX_AGE, 60_000))
    sent = agent.poll()
    assert all("BIRTH" not in topic for topic, _ in sent)
    asked = [m.topic for m in again.step(sent) if b"Rebirth" in m.payload]
    assert asked == [f"spBv1.0/{SITE}/NCMD/line-1"]
    assert again.values("mc-1")["count"] == 3.0
    assert again.live.machine(SITE, "mc-1").connectivity(clock.now_ms) is Connectivity.ONLINE
    again.write()
    assert [value for _, value in again.stored("mc-1", "count")] == [1.0, 2.0, 3.0]
    again.abandon()


def test_data_of_an_agent_never_born_is_not_settled_and_one_rebirth_is_asked(hub, agent):
    agent.connect()
    agent.poll()  # the birth is lost
    agent.record("mc-1", ("count", 1.0))
    sent = agent.poll()
    asked = hub.step(sent + sent)

    assert [m.topic for m in asked] == [f"spBv1.0/{SITE}/NCMD/line-1"]
    assert [m.name for m in decode(asked[0].payload).metrics] == [names.REBIRTH]
    assert hub.inbox.next == 1


def test_an_entry_with_a_broken_body_is_kept_raw_and_settled(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)
    payload = data_message(
        b"\x12\x03\xff\xff\xff",
        time_ms=clock.now_ms,
        epoch=agent.journal.epoch,
        offset=1,
        seq=9,
        historical=False,
    )
    for _ in range(2):
        hub.step([(f"spBv1.0/{SITE}/DDATA/line-1/mc-1", payload)])

    [letter] = hub.pipeline.dead_letters()
    assert (letter.offset, letter.payload) == (1, payload)
    assert hub.counters.dead_letters == 1
    assert hub.pipeline.quarantined()[0].payload == payload
    clock.now_ms += 300
    [ack] = hub.step()
    assert {m.name: m.value for m in decode(ack.payload).metrics}[names.ACK_OFFSET] == 1


def test_a_declared_drop_is_counted_with_its_cause_and_does_not_stall_the_mark(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)
    dropped = [
        Metric(name=names.DROPPED, datatype=DataType.UINT64_ARRAY, value=[1, 4, 80]),
        Metric(name=names.DROPPED_CAUSE, datatype=DataType.STRING, value="budget"),
        Metric(name=names.ENTRY, datatype=DataType.UINT64_ARRAY, value=[agent.journal.epoch, 5]),
    ]
    payload = encode(Payload(clock.now_ms, 3, dropped))
    hub.step([(f"spBv1.0/{SITE}/NDATA/line-1", payload)])
    clock.now_ms += 300
    [ack] = hub.step()

    assert hub.counters.dropped == {"budget": 80}
    assert {m.name: m.value for m in decode(ack.payload).metrics}[names.ACK_OFFSET] == 5
    assert "samples-dropped" in hub.alarm_codes()


def test_a_full_inbox_acknowledges_nothing_and_live_state_goes_on(tmp_path, clock):
    hub = Hub(tmp_path, now_ms=clock, limits={"inbox_mib": 16})
    hub.pipeline._ingest._stopping.set()  # no pause after a refusal in this test
    agent = Agent(tmp_path, now_ms=clock, signals={"mc-1": {"job": str, "count": float}})
    agent.connect()
    converse(hub, agent, clock)
    for number in range(400):
        agent.record("mc-1", ("job", "x" * 60_000), ("count", float(number)))
        converse(hub, agent, clock, turns=1)
        if "inbox-full" in hub.alarm_codes():
            break
    settled = agent.sender.status().settled
    agent.record("mc-1", ("count", -1.0))
    converse(hub, agent, clock, turns=4)

    assert hub.alarm_codes() >= {"inbox-full"}
    assert hub.counters.refused_full > 0
    assert hub.values("mc-1")["count"] == -1.0
    assert agent.sender.status().settled < agent.journal.next - 1

    hub.write()  # the historian takes it, which makes room
    for _ in range(60):
        converse(hub, agent, clock, turns=1, step_ms=2000)
        hub.write()
    assert agent.sender.status().settled == agent.journal.next - 1 > settled
    assert len(hub.stored("mc-1", "job")) == agent.journal.next - 2
    assert "inbox-full" not in hub.alarm_codes()
    hub.abandon()
    agent.journal.close()


def test_two_agents_never_speak_for_one_machine_until_the_first_is_long_gone(
    hub, agent, clock, tmp_path
):
    rival = Agent(tmp_path, "line-2", now_ms=clock, seed=7)
    agent.connect()
    converse(hub, agent, clock)
    rival.connect()
    converse(hub, rival, clock)
    rival.record("mc-1", ("count", 666.0))
    converse(hub, rival, clock)
    assert "duplicate-machine" in hub.alarm_codes()
    assert hub.registry.owner(SITE, "mc-1") == "line-1"
    assert hub.values("mc-1").get("count") != 666.0
    assert rival.sender.status().settled == 0

    hub.step([(agent.will.topic, agent.will.payload)])
    clock.now_ms += 600_000
    converse(hub, rival, clock, turns=200)
    hub.write()
    assert hub.registry.owner(SITE, "mc-1") == "line-2"
    assert [value for _, value in hub.stored("mc-1", "count")] == [666.0]
    assert "duplicate-machine" not in hub.alarm_codes()
    rival.journal.close()


def test_one_agent_id_alternating_between_journals_raises_an_alarm(hub, agent, clock, tmp_path):
    (tmp_path / "other").mkdir()
    twin = Agent(tmp_path / "other", now_ms=clock, seed=8)
    for one in (agent, twin):
        one.connect()
        converse(hub, one, clock, turns=2)
    assert hub.alarm_codes() == set()

    agent.sender.disconnected(clock.now_ms)
    agent.connect()
    converse(hub, agent, clock, turns=2)
    assert hub.alarm_codes() == {"twin-agent"}
    twin.journal.close()


@pytest.mark.tck(
    "operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
)
def test_the_will_of_this_session_takes_the_agent_offline_and_an_earlier_one_does_not(
    hub, agent, clock
):
    agent.connect()
    converse(hub, agent, clock)
    earlier = agent.will
    agent.sender.disconnected(clock.now_ms)
    agent.connect()
    converse(hub, agent, clock)

    hub.step([(earlier.topic, earlier.payload)])
    assert hub.live.agents()[0].online is True
    hub.step([(agent.will.topic, agent.will.payload)])
    assert hub.live.agents()[0].online is False
    assert hub.live.agents()[0].since_ms == clock.now_ms
    assert hub.alarm_codes() == {"agent-offline"}


@pytest.mark.tck(
    "message-flow-hid-sparkplug-state-message-delivered",
    "host-topic-phid-birth-payload",
    "host-topic-phid-birth-topic",
    "host-topic-phid-birth-qos",
    "host-topic-phid-birth-retain",
    "payloads-state-birth",
)
def test_a_late_will_of_our_own_is_answered_with_the_birth_of_this_connection(hub, clock):
    connected_ms = clock.now_ms
    clock.now_ms += 5000
    death = json.dumps({"online": False, "timestamp": connected_ms - 1}).encode()
    [birth] = [m for m in hub.step([("spBv1.0/STATE/machikoba", death)]) if "STATE" in m.topic]

    assert json.loads(birth.payload) == {"online": True, "timestamp": connected_ms}
    assert (birth.topic, birth.qos, birth.retain) == ("spBv1.0/STATE/machikoba", 1, True)


def test_a_retired_signal_still_decodes_from_the_inbox_after_a_restart(tmp_path, clock):
    """The historian was down while a signal was taken out of the configuration."""
    hub = Hub(tmp_path, now_ms=clock)
    agent = Agent(tmp_path, now_ms=clock)
    agent.connect()
    converse(hub, agent, clock)
    agent.record("mc-1", ("job", "A-1"), ("count", 1.0))
    converse(hub, agent, clock)
    del agent.signals["mc-1"]["job"]
    agent.sender.disconnected(clock.now_ms)
    agent.connect()
    converse(hub, agent, clock)
    hub.abandon()

    again = Hub(tmp_path, now_ms=clock, seed=3)
    again.write()
    assert [value for _, value in again.stored("mc-1", "job")] == ["A-1"]
    assert again.counters.dead_letters == 0
    assert [s.name for s in again.registry.machine(SITE, "mc-1").signals] == ["count", "door"]
    again.abandon()
    agent.journal.close()


def mutate(rng, payload):
    """Damage a payload the way networks, disks and strangers do."""
    data = bytearray(payload)
    for _ in range(rng.randrange(1, 6)):
        match rng.randrange(5):
            case 0 if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                del data[rng.randrange(len(data) + 1) :]
            case 2:
                data[rng.randrange(len(data) + 1) :] = rng.randbytes(rng.randrange(40))
            case 3 if data:
                at = rng.randrange(len(data))
                data[at:at] = data[at : at + rng.randrange(30)]
            case 4 if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def test_twenty_thousand_broken_payloads_never_end_ingest(hub, agent, clock, caplog):
    caplog.set_level("CRITICAL")
    rng = random.Random(20_261_122)
    agent.connect()
    births = agent.poll()
    hub.step(births)
    agent.take(hub.step())
    agent.record("mc-1", ("count", 1.0), ("door", True), ("job", "A"))
    good = [*births, *agent.poll(), (agent.will.topic, agent.will.payload)]
    kinds = ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH")
    for _ in range(40):
        messages = []
        for _ in range(500):
            topic, payload = rng.choice(good)
            if rng.random() < 0.2:
                node = rng.choice(("line-1", "f\u00f6\u00f6", "x"))
                device = rng.choice(("", "/mc-1", "/mc 2", "/a/b"))
                topic = f"spBv1.0/{SITE}/{rng.choice(kinds)}/{node}{device}"
            messages.append((topic, mutate(rng, payload)))
        hub.step(messages)
        clock.now_ms += 1000
    assert sum(hub.counters.rejected.values()) > 5000
    assert len(hub.pipeline.quarantined(10_000)) <= 1000

    agent.sender.disconnected(clock.now_ms)
    agent.connect()
    converse(hub, agent, clock, turns=40, step_ms=1000)
    agent.record("mc-1", ("count", 4711.0, clock.now_ms))
    converse(hub, agent, clock, turns=40, step_ms=1000)
    hub.write()
    assert hub.values("mc-1")["count"] == 4711.0
    assert hub.stored("mc-1", "count")[-1][1] == 4711.0


def test_reasons_of_quality_survive_the_way(hub, agent, clock):
    agent.connect()
    converse(hub, agent, clock)
    with agent.lock:
        metric = agent._metric("mc-1", "count", 3.0, quality=Quality.UNCERTAIN,
                               reason=Reason.RANGE)  # fmt: skip
    agent.append([metric], "mc-1")
    converse(hub, agent, clock)

    signal = hub.live.signals(SITE, "mc-1")["count"]
    assert (signal.quality, signal.reason) == (Quality.UNCERTAIN, Reason.RANGE)
