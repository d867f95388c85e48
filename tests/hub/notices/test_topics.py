"""What is published on the broker is what one audience may see, in order, and nothing before."""

import json

import pytest

from hub.access import View
from hub.access.view import Grant, Group, Level
from hub.coordination.events import Events
from hub.notices.topics import Topics
from hub.store import events
from tests.hub.scenes import Clock

SHARED = View.of((), {"ota": [Grant({Group.CAPACITY_CALENDAR: Level.FULL})]}, 0)


class Broker:
    """Takes what is published, unless it is away."""

    def __init__(self):
        self.away = False
        self.told = []

    def publish(self, topic, payload):
        if not self.away:
            self.told.append((topic, json.loads(payload)))
        return not self.away


@pytest.fixture
def clock():
    return Clock()


def happen(store, clock, type_, site="ota", machine="mc-1"):
    with store.write() as tx:
        events.append(
            tx, type=type_, site=site, machine=machine, subject="r1", data={}, now_ms=clock()
        )


@pytest.fixture
def told(store, clock):
    happen(store, clock, "reservation.held")
    log, broker = Events(store, now_ms=clock), Broker()
    topics = Topics(log, publish=broker.publish, view=lambda: SHARED, source="/x", now_ms=clock)

    def tell():
        log.look()
        topics.tell()
        return [topic for topic, _ in broker.told]

    return broker, tell


def test_only_what_is_shared_goes_out_from_the_start_on(store, clock, told):
    _, tell = told
    assert tell() == []
    happen(store, clock, "reservation.confirmed")
    happen(store, clock, "job.started")
    happen(store, clock, "reservation.confirmed", site="suwa")
    happen(store, clock, "alarm.raised", site="", machine=None)
    happen(store, clock, "calendar.changed", machine=None)
    happen(store, clock, "reservation.at_risk", machine="a/b+#")

    assert tell() == [
        "machikoba/v1/ota/mc-1/event/reservation.confirmed",
        "machikoba/v1/ota/_/event/calendar.changed",
        "machikoba/v1/ota/a%2Fb%2B%23/event/reservation.at_risk",
    ]


def test_while_the_broker_is_away_it_waits_and_repeats_nothing(store, clock, told):
    broker, tell = told
    broker.away = True
    for _ in range(3):
        happen(store, clock, "reservation.held")
        assert tell() == []
    broker.away = False
    tell()
    tell()

    assert [body["id"] for _, body in broker.told] == ["2", "3", "4"]
