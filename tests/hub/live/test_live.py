"""Live state: newest wins whatever the order of arrival, and stale data never looks free.

Promised: the highest (epoch, offset) per signal wins; a backlog never moves the state back; a
clock set back does not freeze it; a new epoch outranks the old one; restored values are stale
until heard from; a lost agent is offline at once and valid readings end by themselves.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Connectivity, Quality, Reason, State
from gateway.sparkplug import names
from hub.columns import Columns, SeriesIndex
from hub.historian.historian import Latest
from hub.live import Live
from hub.live.live import NOT_LIVE, order_key
from hub.registry import MachineRecord

NOW = 1_790_000_000_000
MACHINE = MachineRecord("ota", "mc-1", "line-1", name={"en": "Mill"}, kind="mill")


def columns(index, *rows):
    """Make columns of (message, signal, value[, time_ms[, quality]])."""
    told = [(*row, NOW, Quality.GOOD)[:5] if len(row) == 3 else (*row, Quality.GOOD)[:5]
            for row in rows]  # fmt: skip
    texts = {at: row[2] for at, row in enumerate(told) if isinstance(row[2], str)}
    return Columns(
        series=np.array([index.id("ota", "mc-1", row[1]) for row in told], np.int32),
        time_ms=np.array([row[3] for row in told], np.int64),
        value=np.array(
            [np.nan if r[2] is None or isinstance(r[2], str) else r[2] for r in told], np.float64
        ),
        quality=np.array([row[4] for row in told], np.uint8),
        reason=np.array([Reason.TIMEOUT if row[4] else 0 for row in told], np.uint8),
        message=np.array([row[0] for row in told], np.int32),
        text=texts,
    )


class Feed:
    """A live state with one machine, and a short way to feed it."""

    def __init__(self, *, foreign=False):
        self.index = SeriesIndex()
        self.live = Live(self.index)
        self.live.broker_connected(connected=True)
        self.live.born("ota", "line-1", NOW, foreign=foreign)
        record = MachineRecord("ota", "mc-1", "line-1", foreign=foreign)
        self.live.describe(record, online=True, now_ms=NOW)

    def take(self, *rows, keys, now_ms=NOW):
        self.live.apply(columns(self.index, *rows), np.array(keys, np.int64), now_ms)

    def promise(self, *, read_at=NOW, max_age=1000, state="idle", link=True, key=10):
        self.take(
            (0, names.READ_AT, float(read_at)),
            (0, names.MAX_AGE, float(max_age)),
            (0, names.STATE, state),
            (0, names.LINK, float(link)),
            keys=[key],
        )

    @property
    def machine(self):
        return self.live.machine("ota", "mc-1")

    def value(self, signal):
        return self.machine.signals[signal].value


@pytest.fixture
def feed():
    return Feed()


def test_the_newest_entry_wins_whatever_the_order_in_a_batch(feed):
    feed.take((0, "rpm", 3.0), (1, "rpm", 1.0), (2, "rpm", 2.0), keys=[30, 10, 20])

    assert feed.value("rpm") == 3.0


def test_a_backlog_behind_newer_live_data_never_moves_it_back(feed):
    feed.take((0, "rpm", 9.0), keys=[order_key(1, 900)])
    feed.take((0, "rpm", 1.0), (1, "load", 5.0), keys=[order_key(1, 100), order_key(1, 101)])

    assert feed.value("rpm") == 9.0
    assert feed.value("load") == 5.0


def test_a_clock_set_back_does_not_freeze_the_page(feed):
    feed.take((0, "rpm", 1.0, NOW), keys=[10])
    feed.take((0, "rpm", 2.0, NOW - 3_600_000), keys=[11])

    assert feed.value("rpm") == 2.0


def test_a_later_epoch_outranks_every_offset_of_the_one_before(feed):
    feed.take((0, "rpm", 1.0), keys=[order_key(1, 1_000_000)])
    feed.take((0, "rpm", 2.0), keys=[order_key(2, 1)])

    assert feed.value("rpm") == 2.0


def test_within_one_entry_the_last_sample_of_a_signal_stays(feed):
    feed.take((0, "rpm", 1.0, NOW), (0, "rpm", 2.0, NOW + 1), keys=[10])

    assert feed.value("rpm") == 2.0


def test_foreign_history_never_touches_live_values(feed):
    feed.take((0, "rpm", 1.0), keys=[10])
    feed.take((0, "rpm", 2.0), keys=[NOT_LIVE])

    assert feed.value("rpm") == 1.0


def test_a_failed_read_shows_no_value_instead_of_the_old_one(feed):
    feed.take((0, "rpm", 1.0), keys=[10])
    feed.take((0, "rpm", None, NOW + 5, Quality.BAD), keys=[11])

    signal = feed.machine.signals["rpm"]
    assert (signal.value, signal.quality, signal.reason) == (None, Quality.BAD, Reason.TIMEOUT)
    assert signal.changed_ms == NOW + 5


def test_the_clock_of_the_reading_moves_without_the_clock_of_the_change(feed):
    feed.take((0, "rpm", 1.0, NOW), keys=[10])
    feed.take((0, "rpm", 1.0, NOW + 1000), keys=[11])

    signal = feed.machine.signals["rpm"]
    assert (signal.time_ms, signal.changed_ms) == (NOW + 1000, NOW)


def test_text_gives_way_to_numbers_and_back(feed):
    feed.take((0, "job", "A-17"), keys=[10])
    feed.take((0, "job", 4.0, NOW + 1), keys=[11])
    assert feed.value("job") == 4.0

    feed.take((0, "job", "A-18", NOW + 2), keys=[12])
    assert feed.value("job") == "A-18"


def test_booleans_and_integers_come_back_as_what_they_were(feed):
    feed.take((0, "door", 1.0), (0, "serial", str(2**60)), (0, "parts", 7.0), keys=[10])
    for signal, kind in (("door", "boolean"), ("serial", "int64"), ("parts", "int64")):
        series = feed.index.id("ota", "mc-1", signal)
        feed.index.describe(series, unit=None, kind=kind)

    assert [feed.value(s) for s in ("door", "serial", "parts")] == [True, 2**60, 7]
    assert isinstance(feed.value("parts"), int)


def test_an_idle_linked_machine_is_free_until_its_reading_expires(feed):
    feed.promise(read_at=NOW, max_age=1000)

    assert feed.machine.valid_until_ms == NOW + 3000
    assert feed.machine.free_now(NOW + 3000)
    assert not feed.machine.free_now(NOW + 3001)
    assert feed.machine.connectivity(NOW + 3001) is Connectivity.STALE
    assert feed.machine.state_at(NOW + 3001) is State.UNKNOWN


@pytest.mark.parametrize(("state", "link"), [("running", True), ("idle", False)])
def test_a_busy_or_unlinked_machine_is_not_free(feed, state, link):
    feed.promise(state=state, link=link)

    assert feed.machine.connectivity(NOW) is Connectivity.ONLINE
    assert not feed.machine.free_now(NOW)


def test_reading_again_keeps_an_unchanged_machine_fresh_without_touching_its_signals(feed):
    feed.take((0, "rpm", 1.0, NOW), keys=[9])
    feed.promise(key=10)
    feed.take((0, names.READ_AT, float(NOW + 2500)), keys=[11], now_ms=NOW + 2600)

    assert feed.machine.free_now(NOW + 5500)
    assert feed.machine.signals["rpm"].time_ms == NOW


def test_a_clock_that_runs_ahead_does_not_prolong_the_promise(feed):
    feed.promise(read_at=NOW + 86_400_000)

    assert feed.machine.valid_until_ms == NOW + 3000


@pytest.mark.tck(
    "operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
)
def test_a_lost_agent_takes_its_machines_offline_at_once(feed):
    feed.promise()
    feed.live.died("ota", "line-1", NOW + 1)

    assert feed.machine.connectivity(NOW + 1) is Connectivity.OFFLINE
    assert feed.machine.state_at(NOW + 1) is State.UNKNOWN
    assert not feed.machine.free_now(NOW + 1)
    [agent] = feed.live.agents()
    assert (agent.online, agent.since_ms) == (False, NOW + 1)


@pytest.mark.tck("operational-behavior-edge-node-termination-host-action-ddeath-devices-offline")
def test_a_dead_device_is_offline_and_its_birth_brings_it_back(feed):
    feed.promise()
    feed.live.device("ota", "mc-1", online=False)
    assert feed.machine.connectivity(NOW) is Connectivity.OFFLINE

    feed.live.device("ota", "mc-1", online=True)
    assert feed.machine.connectivity(NOW) is Connectivity.ONLINE


def test_a_machine_that_was_never_read_is_never_seen(feed):
    assert feed.machine.connectivity(NOW) is Connectivity.NEVER_SEEN


def test_a_foreign_machine_lives_by_its_session_and_by_the_hubs_own_connection():
    feed = Feed(foreign=True)
    feed.take((0, "rpm", 1.0, NOW), keys=[1])
    assert feed.machine.connectivity(NOW + 10**9) is Connectivity.ONLINE

    feed.live.broker_connected(connected=False)
    assert feed.machine.connectivity(NOW) is Connectivity.STALE


def test_since_is_when_the_word_changed_not_when_it_was_repeated(feed):
    feed.take((0, names.STATE, "running", NOW), keys=[10])
    feed.take((0, names.STATE, "running", NOW + 9), (0, names.STATE_REASON, "x"), keys=[11])
    assert (feed.machine.state, feed.machine.since_ms) == (State.RUNNING, NOW)
    assert feed.machine.reason == "x"

    feed.take((0, names.STATE, "down", NOW + 20), keys=[12])
    assert (feed.machine.state, feed.machine.since_ms) == (State.DOWN, NOW + 20)


def test_the_last_word_known_stays_known_for_whoever_looks_later(feed):
    feed.take((0, names.STATE, "running", NOW), keys=[10])
    feed.take((0, names.STATE, "unknown", NOW + 9), keys=[11])

    assert (feed.machine.state, feed.machine.known_state) == (State.UNKNOWN, State.RUNNING)


def test_a_word_nobody_knows_is_unknown(feed):
    feed.take((0, names.STATE, "dancing"), keys=[10])

    assert feed.machine.state is State.UNKNOWN


def test_reserved_signals_are_not_listed_as_values(feed):
    feed.promise()
    feed.take((0, "rpm", 1.0), keys=[11])

    assert list(feed.machine.signals) == ["rpm"]


def test_parts_are_summed_over_the_signals_that_count_them(feed):
    for signal, counts in (("a", "good"), ("b", "good"), ("c", "scrap")):
        series = feed.index.id("ota", "mc-1", signal)
        feed.index.describe(series, unit=None, kind="double", counts=counts)
    feed.take((0, "a", 3.0), (0, "b", 4.0), (0, "c", 1.0), keys=[10])

    assert (feed.machine.parts_good, feed.machine.parts_scrap) == (7.0, 1.0)


def test_changed_since_gives_only_what_changed(feed):
    other = MachineRecord("ota", "mc-2", "line-1")
    feed.live.describe(other, online=True, now_ms=NOW)
    seen = feed.live.version
    feed.take((0, "rpm", 1.0), keys=[10])

    assert [m.machine for m in feed.live.changed_since(seen)] == ["mc-1"]
    assert feed.live.changed_since(feed.live.version) == []


def test_a_value_alone_makes_no_new_row_but_a_state_does(feed):
    feed.promise()
    before = feed.machine.row_version
    feed.take((0, "rpm", 1.0), (0, names.READ_AT, float(NOW)), keys=[11])
    assert feed.machine.row_version == before

    feed.take((0, names.STATE, "down"), keys=[12])
    assert feed.machine.row_version > before


def test_unchanged_machines_are_not_built_again(feed):
    assert feed.live.machines()[0] is feed.live.machines()[0]


def test_restored_values_are_stale_until_the_agent_is_heard():
    index = SeriesIndex()
    live = Live(index)
    live.describe(MACHINE, online=None, now_ms=NOW)
    live.restore(
        [
            Latest("ota", "mc-1", names.STATE, NOW - 50, "idle", 0, 0),
            Latest("ota", "mc-1", "rpm", NOW - 40, 7.0, 0, 0),
            Latest("ota", "mc-1", names.LINK, NOW - 40, 1.0, 0, 0),
            Latest("ota", "mc-1", names.MAX_AGE, NOW - 40, 1000, 0, 0),
        ],
        NOW,
    )
    machine = live.machine("ota", "mc-1")
    assert machine.state is State.IDLE
    assert machine.signals["rpm"].value == 7.0
    assert machine.connectivity(NOW) is Connectivity.STALE
    assert not machine.free_now(NOW)

    live.heard("ota", "line-1", NOW)
    assert live.machine("ota", "mc-1").free_now(NOW)


def test_after_a_restore_the_time_decides_until_the_first_entry_does():
    index = SeriesIndex()
    live = Live(index)
    live.restore([Latest("ota", "mc-1", "rpm", NOW, 7.0, 0, 0)], NOW)

    live.apply(columns(index, (0, "rpm", 1.0, NOW - 10)), np.array([order_key(1, 5)]), NOW)
    assert live.signals("ota", "mc-1")["rpm"].value == 7.0

    live.apply(columns(index, (0, "rpm", 8.0, NOW + 10)), np.array([order_key(1, 6)]), NOW)
    live.apply(columns(index, (0, "rpm", 9.0, NOW - 99)), np.array([order_key(1, 7)]), NOW)
    assert live.signals("ota", "mc-1")["rpm"].value == 9.0


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(1, 40),
                st.sampled_from("abcd"),
                st.one_of(st.floats(0, 9), st.text(max_size=2), st.none()),
            ),
            min_size=1,
            max_size=12,
        ),
        max_size=8,
    )
)
def test_any_order_of_arrival_ends_like_a_plain_dictionary(batches):
    feed = Feed()
    model = {}
    for batch in batches:
        rows = [(at, signal, value) for at, (_, signal, value) in enumerate(batch)]
        feed.take(*rows, keys=[key for key, _, _ in batch])
        for key, signal, value in batch:
            if key >= model.get(signal, (0, None))[0]:
                model[signal] = (key, value)

    shown = {name: value.value for name, value in feed.live.signals("ota", "mc-1").items()}
    assert shown == {signal: value for signal, (_, value) in model.items()}


def test_room_grows_with_the_number_of_series_and_machines():
    index = SeriesIndex()
    live = Live(index)
    count = 3000
    ids = [index.id("ota", f"m-{n}", "rpm") for n in range(count)]
    batch = Columns(
        series=np.array(ids, np.int32),
        time_ms=np.full(count, NOW),
        value=np.arange(count, dtype=np.float64),
        quality=np.zeros(count, np.uint8),
        reason=np.zeros(count, np.uint8),
        message=np.zeros(count, np.int32),
    )
    live.apply(batch, np.array([1]), NOW)

    assert len(live.machines()) == count
    assert live.signals("ota", "m-2999")["rpm"].value == 2999.0
