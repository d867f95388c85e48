"""Sparkplug nodes of others: ordered where possible, re-born where not, stored at most once."""

import pytest

from gateway.model import Connectivity
from gateway.sparkplug import DataType, Metric, Payload, decode, encode, names
from tests.hub.ingest.scenes import Clock, Hub

TOPIC = "spBv1.0/Werk 1/{}/Zelle A{}"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hub(tmp_path, clock):
    hub = Hub(tmp_path, now_ms=clock)
    yield hub
    hub.abandon()


class Node:
    """A foreign edge node with one device, as strict or as sloppy as a test wants."""

    def __init__(self, clock, *, bdseq=0):
        self.clock = clock
        self.bdseq = bdseq
        self.seq = 0

    def message(self, kind, metrics, *, device="", seq="next"):
        if seq == "next":
            seq, self.seq = self.seq, (self.seq + 1) % 256
        payload = Payload(self.clock.now_ms, seq, metrics)
        suffix = f"/{device}" if device else ""
        return TOPIC.format(kind, suffix), encode(payload, datatypes="BIRTH" in kind)

    def births(self):
        self.seq = 0
        bdseq = Metric(name="bdSeq", datatype=DataType.INT64, value=self.bdseq)
        control = Metric(name=names.REBIRTH, datatype=DataType.BOOLEAN, value=False)
        load = Metric(name="Load", alias=3, datatype=DataType.INT16, value=-5)
        return [
            self.message("NBIRTH", [bdseq, control]),
            self.message("DBIRTH", [load], device="Presse"),
        ]

    def load(self, value, **settings):
        metric = Metric(alias=3, datatype=DataType.INT16, value=value, **settings)
        return self.message("DDATA", [metric], device="Presse")

    def death(self, bdseq=None):
        number = self.bdseq if bdseq is None else bdseq
        metric = Metric(name="bdSeq", datatype=DataType.UINT64, value=number)
        return self.message("NDEATH", [metric], seq=None)


@pytest.fixture
def node(clock):
    return Node(clock)


def rows(hub):
    hub.write()
    return [value for _, value in hub.stored("Zelle A.Presse", "Load", site="Werk 1")]


def rebirths(published):
    """Give the nodes asked for a rebirth, checking the form of the request."""
    asked = []
    for message in published:
        [metric] = decode(message.payload).metrics
        assert (metric.name, metric.value) == (names.REBIRTH, True)
        asked.append(message.topic)
    return asked


def test_births_and_data_of_a_device_are_stored_and_shown(hub, node, clock):
    hub.step(node.births())
    clock.now_ms += 10
    hub.step([node.load(7)])

    assert rows(hub) == [-5, 7]
    machine = hub.live.machine("Werk 1", "Zelle A.Presse")
    assert machine.foreign
    assert machine.connectivity(clock.now_ms) is Connectivity.ONLINE
    assert hub.values("Zelle A.Presse", site="Werk 1") == {"Load": 7}
    assert hub.registry.site("Werk 1").configured is False


def test_history_is_stored_and_leaves_the_live_value_alone(hub, node, clock):
    hub.step(node.births())
    clock.now_ms += 10
    hub.step([node.load(1, historical=True, time_ms=clock.now_ms)])

    assert rows(hub) == [-5, 1]
    assert hub.values("Zelle A.Presse", site="Werk 1") == {"Load": -5}


@pytest.mark.tck(
    "operational-behavior-host-reordering-param",
    "operational-behavior-host-reordering-start",
    "operational-behavior-host-reordering-success",
)
def test_messages_out_of_order_are_put_in_order_without_a_rebirth(hub, node, clock):
    hub.step(node.births())
    values = []
    for value in (1, 2, 3):
        clock.now_ms += 1
        values.append(node.load(value))
    hub.step(values[1:])
    assert hub.values("Zelle A.Presse", site="Werk 1") == {"Load": -5}
    published = hub.step(values[:1])
    clock.now_ms += 5000
    published += hub.step()

    assert rows(hub) == [-5, 1, 2, 3]
    assert published == []


def test_a_message_that_comes_twice_is_stored_once(hub, node, clock):
    hub.step(node.births())
    clock.now_ms += 1
    message = node.load(1)
    hub.step([message, message])
    hub.step([message])

    assert rows(hub) == [-5, 1]


@pytest.mark.tck(
    "operational-behavior-host-reordering-rebirth",
    "operational-behavior-data-commands-ncmd-rebirth-verb",
    "operational-behavior-data-commands-ncmd-rebirth-name",
    "operational-behavior-data-commands-ncmd-rebirth-value",
)
def test_a_gap_that_stays_open_is_given_up_and_one_rebirth_is_asked(hub, node, clock):
    hub.step(node.births())
    node.load(1)  # lost
    clock.now_ms += 1
    assert hub.step([node.load(2)]) == []
    clock.now_ms += 1999
    assert hub.step() == []
    clock.now_ms += 2
    assert rebirths(hub.step()) == ["spBv1.0/Werk 1/NCMD/Zelle A"]
    assert hub.counters.sequence_gaps == 1
    assert rows(hub) == [-5, 2]

    clock.now_ms += 3000
    assert hub.step() == []


def test_a_node_that_was_not_heard_being_born_is_asked_to_be(hub, node):
    node.births()

    assert rebirths(hub.step([node.load(1)])) == ["spBv1.0/Werk 1/NCMD/Zelle A"]
    assert hub.inbox.next == 1


@pytest.mark.tck("operational-behavior-edge-node-termination-host-action-ndeath-devices-offline")
def test_the_death_of_a_node_takes_its_devices_offline(hub, node, clock):
    hub.step(node.births())
    hub.step([node.death()])

    machine = hub.live.machine("Werk 1", "Zelle A.Presse")
    assert machine.connectivity(clock.now_ms) is Connectivity.OFFLINE


def test_a_death_whose_number_never_fits_still_counts(hub, node, clock):
    hub.step(node.births())
    hub.step([node.death(bdseq=77)])

    machine = hub.live.machine("Werk 1", "Zelle A.Presse")
    assert machine.connectivity(clock.now_ms) is Connectivity.OFFLINE


@pytest.mark.tck("operational-behavior-edge-node-termination-host-action-ddeath-devices-offline")
def test_the_death_of_a_device_takes_it_offline_and_its_birth_brings_it_back(hub, node, clock):
    hub.step(node.births())
    hub.step([node.message("DDEATH", [], device="Presse")])
    machine = hub.live.machine("Werk 1", "Zelle A.Presse")
    assert machine.connectivity(clock.now_ms) is Connectivity.OFFLINE

    clock.now_ms += 1
    load = Metric(name="Load", alias=3, datatype=DataType.INT16, value=9)
    hub.step([node.message("DBIRTH", [load], device="Presse")])
    machine = hub.live.machine("Werk 1", "Zelle A.Presse")
    assert machine.connectivity(clock.now_ms) is Connectivity.ONLINE


def test_stored_values_are_read_after_a_restart_without_any_session(tmp_path, clock):
    hub, node = Hub(tmp_path, now_ms=clock), Node(clock)
    hub.step(node.births())
    clock.now_ms += 1
    hub.step([node.load(8)])
    hub.abandon()

    again = Hub(tmp_path, now_ms=clock, seed=4)
    assert rows(again) == [-5, 8]
    machine = again.live.machine("Werk 1", "Zelle A.Presse")
    assert machine.connectivity(clock.now_ms) is not Connectivity.ONLINE
    again.abandon()
