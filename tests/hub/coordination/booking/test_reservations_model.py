"""Whatever is done in whatever order, reservations do what a simple account of slots says.

The oracle keeps a list of plain dictionaries and counts units slot by slot. The real thing runs
over a real store: SQLite, and PostgreSQL in the system run.
"""

import tempfile
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from hub.access import LOCAL
from hub.coordination.booking.booking import Action
from hub.coordination.booking.refusals import (
    ConflictError,
    HoldExpiredError,
    IllegalTransitionError,
    InvalidError,
    KeyReusedError,
    StaleError,
)
from hub.store import Store
from tests.hub.coordination.bookings import HOUR, MINUTE, T0, Bookings, step
from tests.postgres import available

SLOTS = 24
"""Of half an hour each."""
UNITS = {"a": 1, "b": 3}
LIVE = ("held", "confirmed", "running")
LEGAL = {
    Action.CONFIRM: ("held",),
    Action.EXTEND: ("held",),
    Action.RELEASE: ("held", "confirmed"),
    Action.CANCEL: LIVE,
}
RESULT = {Action.CONFIRM: "confirmed", Action.RELEASE: "released", Action.CANCEL: "cancelled"}

slots = st.sets(st.integers(0, SLOTS - 1), min_size=1, max_size=4).map(sorted)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("a"), slots, st.just(1)),
        st.tuples(st.just("b"), slots, st.integers(1, 4)),
    ),
    min_size=1,
    max_size=3,
)


class Account:
    """What is booked, told the simplest way there is."""

    def __init__(self):
        self.now_ms = T0
        self.rows = {}

    def tick(self):
        """Do what the clock does, as if somebody looked all the time."""
        for row in self.rows.values():
            if row["status"] == "held" and row["ends_ms"] <= self.now_ms:
                row["status"] = "expired"

    def free(self, asked):
        """Tell whether every slot asked for has enough units left."""
        load = Counter()
        for row in self.rows.values():
            if row["status"] in LIVE:
                load.update(slot_units(row["asked"]))
        load.update(slot_units(asked))
        return all(units <= UNITS[machine] for (machine, _), units in load.items())


def slot_units(asked):
    return Counter(
        {
            (machine, slot): sum(u for m, ss, u in asked if m == machine and slot in ss)
            for machine in UNITS
            for slot in range(SLOTS)
        }
    )


class Machine(RuleBasedStateMachine):
    """Does the same to both."""

    keys = Bundle("keys")
    open_store = None

    @initialize()
    def begin(self):
        self.store, self.dispose = type(self).open_store()
        self.real = Bookings(self.store)
        for machine, units in UNITS.items():
            self.real.shop.units["ota", machine].capacity_units = units
        self.account = Account()
        self.answers = {}
        self.count = 0

    def teardown(self):
        if hasattr(self, "store"):
            self.dispose()

    def at(self, slot):
        """When a slot begins, in hours from the start of the test; the clock never gets there."""
        return 100 + slot / 2

    def call(self, asked, key, ttl_s):
        words = [
            step(m, *((self.at(s), self.at(s + 1)) for s in ss), units=u) for m, ss, u in asked
        ]
        try:
            return self.real.chain(*words, key=key, ttl_s=ttl_s)
        except (ConflictError, InvalidError) as error:
            return type(error)

    @rule(target=keys, asked=steps, ttl_s=st.sampled_from([60, 3600, 86_400]))
    def hold(self, asked, ttl_s):
        self.count += 1
        key = f"k{self.count}"
        self.account.tick()
        told = self.call(asked, key, ttl_s)
        if any(units > UNITS[machine] for machine, _, units in asked):
            assert told is InvalidError
            return multiple()
        if self.account.free(asked):
            assert told.status == "held", told
            self.account.rows[told.id] = {
                "status": "held",
                "version": 1,
                "asked": asked,
                "made_ms": self.account.now_ms,
                "ends_ms": self.account.now_ms + ttl_s * 1000,
            }
        else:
            assert told is ConflictError
        self.answers[key] = (asked, ttl_s, told, self.account.now_ms)
        return key

    @rule(key=keys)
    def ask_again(self, key):
        asked, ttl_s, told, at_ms = self.answers[key]
        if self.account.now_ms < at_ms + 24 * HOUR:
            assert self.call(asked, key, ttl_s) == told

    @rule(key=keys)
    def use_a_key_for_something_else(self, key):
        asked, ttl_s, _, at_ms = self.answers[key]
        if self.account.now_ms < at_ms + 24 * HOUR:
            with pytest.raises(KeyReusedError):
                self.call(asked, key, ttl_s + 1)

    @rule(
        key=keys,
        action=st.sampled_from(Action),
        stale=st.sampled_from([False, False, False, True]),
        ttl_s=st.integers(1, 9000),
    )
    def act(self, key, action, stale, ttl_s):
        id_ = getattr(self.answers[key][2], "id", None)
        if id_ is None:
            return
        self.account.tick()
        row = self.account.rows[id_]
        expected = None
        if row["status"] == "expired" and action is not Action.CANCEL:
            expected = HoldExpiredError
        elif stale:
            expected = StaleError
        elif row["status"] not in LEGAL[action]:
            expected = IllegalTransitionError
        version = self.real.reservations.get(id_, LOCAL).version
        told = (action, id_, LOCAL, version + 7 if stale else version)
        if expected is not None:
            with pytest.raises(expected):
                self.real.reservations.act(*told, ttl_s=ttl_s)
            return
        found = self.real.reservations.act(*told, ttl_s=ttl_s)
        row["status"] = RESULT.get(action, row["status"])
        if action is Action.EXTEND:
            row["ends_ms"] = self.account.now_ms + ttl_s * 1000
            assert found.hold_expires_ms == row["ends_ms"]
        assert (found.status, found.version) == (row["status"], version + 1)

    @rule(minutes=st.integers(0, 30))
    def wait(self, minutes):
        # Slots begin a hundred hours on: holds run out, nothing begins.
        self.account.now_ms = min(self.account.now_ms + minutes * MINUTE, T0 + 90 * HOUR)
        self.real.clock.now_ms = self.account.now_ms

    @rule()
    def sweep(self):
        self.real.reservations.sweep()

    @rule()
    def restart(self):
        self.real.reservations = self.real.opened()

    @invariant()
    def both_say_the_same(self):
        if not hasattr(self, "account"):
            return
        self.account.tick()
        for machine, most in UNITS.items():
            load = Counter()
            found = self.real.reservations.busy("ota", machine, 0, T0 + 1000 * HOUR)
            for busy in found:
                first = (busy.start_ms - T0 - 100 * HOUR) // (HOUR // 2)
                last = (busy.end_ms - T0 - 100 * HOUR) // (HOUR // 2)
                load.update(dict.fromkeys(range(first, last), busy.units))
            told = Counter()
            for row in self.account.rows.values():
                if row["status"] in LIVE:
                    units = slot_units(row["asked"])
                    told.update({s: units[machine, s] for s in range(SLOTS)})
            assert +load == +told
            assert max(load.values(), default=0) <= most


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=30,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking thirty steps takes minutes
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_reservations_on_sqlite_keep_to_the_account():
    def open_store():
        folder = tempfile.TemporaryDirectory(prefix="model-")
        store = Store.open(f"sqlite:///{folder.name}/coordination.sqlite")

        def dispose():
            store.close()
            folder.cleanup()

        return store, dispose

    run_state_machine_as_test(
        type("OnSqlite", (Machine,), {"open_store": staticmethod(open_store)}), settings=SETTINGS
    )


@pytest.mark.system
@pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")
def test_reservations_on_postgresql_keep_to_the_account(cluster):
    def open_store():
        url = cluster.new_database()
        store = Store.open(url)

        def dispose():
            store.close()
            cluster.drop(url)

        return store, dispose

    few = settings(SETTINGS, max_examples=20)
    run_state_machine_as_test(
        type("OnPostgres", (Machine,), {"open_store": staticmethod(open_store)}), settings=few
    )
