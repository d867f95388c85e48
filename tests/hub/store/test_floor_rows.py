"""What people say and owners write, as rows: the same on every engine.

- Labels come back in the order in which they were given, with those that may touch a range.
- The last word on a machine is the one that was said last, not the one that began last.
- A site's reasons are its own; calendars are numbered and never get a number twice.
- Erasing a machine takes all of it away; another machine keeps its own.
"""

from dataclasses import replace

from hub.store import calendars, erasure, manual_states, reasons
from hub.store.manual_states import ManualState
from hub.store.reasons import OPEN_MS, Label, SiteReason

T0 = 1_795_000_000_000
LABEL = Label("ota", "mc-1", T0, T0 + 100, "break", "昼", "machine-alarm", T0 + 200, "key:a")
SAID = ManualState("ota", "hand-1", T0, T0 + 1000, "idle", "no-order", T0, "key:a")
OWN = SiteReason("ota", "festival", "people", "祭り", "Festival", "PDT")


def test_labels_come_in_the_order_in_which_they_were_given(store):
    later = replace(LABEL, start_ms=T0 - 50, end_ms=T0 + 50, reason=None)
    elsewhere = replace(LABEL, machine="mc-2")
    lasting = replace(LABEL, end_ms=None)
    with store.write() as tx:
        for each in (LABEL, later, elsewhere, lasting):
            reasons.add_label(tx, each)
    with store.read() as tx:
        assert reasons.labels(tx, "ota", "mc-1", T0, T0 + 10) == [LABEL, later, lasting]
        assert reasons.labels(tx, "ota", "mc-1", T0 + 60, T0 + 90) == [LABEL, lasting]
        assert reasons.labels(tx, "ota", "mc-1", T0 + 100, T0 + 200) == [lasting]
        assert reasons.labels(tx, "ota", "mc-1", T0 - 90, T0 - 50) == []
        assert reasons.labels(tx, "ota", "mc-1", T0 + OPEN_MS, T0 + OPEN_MS + 1) == []


def test_the_last_word_is_the_one_that_was_said_last(store):
    earlier = replace(SAID, start_ms=T0 - 500, state="running", said_ms=T0 + 5)
    with store.write() as tx:
        for each in (SAID, earlier, replace(SAID, machine="hand-2")):
            manual_states.add(tx, each)
    with store.read() as tx:
        found = {each.machine: each for each in manual_states.latest(tx)}
        assert found == {"hand-1": earlier, "hand-2": replace(SAID, machine="hand-2")}
        assert manual_states.within(tx, "ota", "hand-1", T0 - 400, T0) == [earlier]
        assert manual_states.within(tx, "ota", "hand-1", T0 + 1000, T0 + 2000) == []


def test_a_site_s_reasons_are_its_own(store):
    with store.write() as tx:
        reasons.put_reason(tx, OWN)
        reasons.put_reason(tx, replace(OWN, en="Feast"))
        reasons.put_reason(tx, replace(OWN, site="suwa"))
        assert reasons.remove_reason(tx, "suwa", "festival")
        assert not reasons.remove_reason(tx, "suwa", "festival")
    with store.read() as tx:
        assert reasons.reasons(tx, "ota") == [replace(OWN, en="Feast")]
        assert reasons.reasons(tx, "suwa") == []


def test_a_calendar_s_number_is_never_given_twice(store):
    with store.write() as tx:
        first = calendars.put(tx, "ota", "", "{}", who="key:a", now_ms=T0)
        assert calendars.remove(tx, "ota", "")
        assert not calendars.remove(tx, "ota", "")
        second = calendars.put(tx, "ota", "", "{}", who="key:a", now_ms=T0)
    assert (first.version, second.version) == (1, 2)
    with store.read() as tx:
        assert calendars.load(tx) == [second] == [calendars.get(tx, "ota", "")]
        assert calendars.newest(tx) == 2


def test_erasing_a_machine_takes_all_of_it_and_nothing_of_others(store):
    with store.write() as tx:
        for machine in ("hand-1", "hand-2", ""):
            calendars.put(tx, "ota", machine, "{}", who="key:a", now_ms=T0)
        for machine in ("hand-1", "hand-2"):
            reasons.add_label(tx, replace(LABEL, machine=machine))
            manual_states.add(tx, replace(SAID, machine=machine))
        erasure.erase(tx, "ota", "hand-1")
    with store.read() as tx:
        assert {each.machine for each in calendars.load(tx)} == {"", "hand-2"}
        assert {each.machine for each in manual_states.latest(tx)} == {"hand-2"}
        assert reasons.labels(tx, "ota", "hand-1", T0, T0 + 10) == []
        assert len(reasons.labels(tx, "ota", "hand-2", T0, T0 + 10)) == 1
