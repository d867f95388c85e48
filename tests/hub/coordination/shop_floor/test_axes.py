"""The five axes and the one word: every combination, and every table complete.

- The first rule that fits counts; a breakdown and a running machine are shown while closed.
- Off is closed when the calendar says so, and off when nobody has said when there is work.
- The live state and the roll-up give the same word for everything that a rule can say.
- Every word of MTConnect, PackML and OPC UA leads somewhere.
"""

import itertools

import pytest

from gateway.model import Connectivity, State
from hub.coordination.hours.calendar_rules import Kind
from hub.coordination.shop_floor import axes
from hub.coordination.shop_floor.axes import Axes, ItemState, Mode, roll_up
from hub.live import Hours, LiveMachine

ONLINE = Connectivity.ONLINE


def test_nothing_is_said_of_a_machine_that_is_not_heard():
    for connectivity, word in itertools.product(set(Connectivity) - {ONLINE}, axes.WORDS):
        assert roll_up(connectivity, axes.WORDS[word], Kind.CLOSED) is State.UNKNOWN
    assert roll_up(ONLINE, None, Kind.WORKING) is State.UNKNOWN


@pytest.mark.parametrize("calendar", Kind)
def test_every_word_is_shown_as_itself_whatever_the_calendar_says_but_off(calendar):
    for word, told in axes.WORDS.items():
        closed = word is State.OFF and calendar in {Kind.CLOSED, Kind.BREAK}
        assert roll_up(ONLINE, told, calendar) is (State.CLOSED if closed else word)


def test_the_first_rule_that_fits_counts():
    def shown(item, mode, *, waiting=False):
        return roll_up(ONLINE, Axes(item, mode, waiting), Kind.WORKING)

    assert shown(ItemState.OUT_OF_SERVICE, Mode.PROCESSING) is State.DOWN
    assert shown(ItemState.EXECUTING, Mode.SETUP) is State.SETUP
    assert shown(ItemState.EXECUTING, Mode.MAINTENANCE) is State.RUNNING
    assert shown(ItemState.NOT_AVAILABLE, Mode.SETUP) is State.OFF
    assert shown(ItemState.NOT_EXECUTING, Mode.SETUP, waiting=True) is State.SETUP
    assert shown(ItemState.NOT_EXECUTING, Mode.MAINTENANCE) is State.MAINTENANCE
    assert shown(ItemState.NOT_EXECUTING, Mode.PROCESSING, waiting=True) is State.WAITING
    assert shown(ItemState.NOT_EXECUTING, Mode.PROCESSING) is State.IDLE


@pytest.mark.parametrize("calendar", Kind)
def test_the_live_state_shows_what_the_roll_up_gives(calendar):
    rests = calendar in axes.RESTING
    for word in axes.WORDS:
        machine = LiveMachine(
            0, "ota", "mc-1", 1, 1, agent="a", agent_online=True, state=word, read_at_ms=1000,
            max_age_ms=1000, hours=lambda _: Hours(rests=rests, until_ms=3000),
        )  # fmt: skip
        for now_ms in (1000, 9000):
            connectivity = machine.connectivity(now_ms)
            assert machine.state_at(now_ms) is roll_up(connectivity, axes.WORDS[word], calendar)


def test_what_is_shown_is_looked_at_again_when_hours_begin_or_validity_ends():
    def until(state, now_ms):
        machine = LiveMachine(
            0, "ota", "mc-1", 1, 1, agent="a", agent_online=True, state=state, read_at_ms=1000,
            max_age_ms=1000, hours=lambda _: Hours(rests=True, until_ms=3000),
        )  # fmt: skip
        return machine.shown_until_ms(now_ms)

    assert until(State.OFF, 1000) == 2999
    assert until(State.IDLE, 1000) == 4000
    assert until(State.IDLE, 4001) is None


def test_every_word_of_the_standards_leads_somewhere():
    for table, size in (
        (axes.MTCONNECT_EXECUTION, 11),
        (axes.MTCONNECT_MODES, 5),
        (axes.PACKML_STATES, 17),
        (axes.OPC_ITEM_STATES, 4),
        (axes.OPC_MODES, 4),
    ):
        assert len(table) == size
    shown = {
        word: told and roll_up(ONLINE, told, Kind.WORKING).value
        for word, told in {**axes.MTCONNECT_EXECUTION, **axes.PACKML_STATES}.items()
    }
    assert shown["ACTIVE"] == shown["Execute"] == "running"
    assert shown["WAIT"] == shown["Suspended"] == "waiting"
    assert shown["FEED_HOLD"] == shown["Held"] == shown["READY"] == shown["Idle"] == "idle"
    assert shown["Aborted"] == "down"
    assert shown["Resetting"] == "setup"
    assert shown["UNAVAILABLE"] is None
