"""From messages to the inbox, live state and the historian, driven by hand."""

import pytest

from gateway.model import Connectivity, State
from gateway.sparkplug import names
from tests.hub.ingest.scenes import NOW, Agent, Clock, Hub


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
    [interval] = hub.historian.states("ota", "mc-1", hub_span())
    assert (interval.state, interval.reason, interval.source) == (State.IDLE, "no-job", "edge")
    assert hub.stored("mc-1", names.READ_AT) == []


def hub_span():
    from tests.hub.ingest.scenes import ALL_TIME  # noqa: PLC0415

    return ALL_TIME
