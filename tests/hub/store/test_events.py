"""Events are numbered without gaps, in the order of their commits, and never twice."""

import threading

import pytest

from hub.store import Store, events
from hub.store.events import Wanted

T0 = 1_795_000_000_000


def append(tx, type_="job.running", *, at_ms=T0, site="ota", machine="mc-1", data=None):
    return events.append(
        tx,
        type=type_,
        site=site,
        machine=machine,
        subject="A-1",
        data={} if data is None else data,
        now_ms=at_ms,
    )


def numbers(store, seq=0, **wanted):
    with store.read() as tx:
        return [e.seq for e in events.after(tx, seq, limit=1000, wanted=Wanted(**wanted))]


def test_an_event_is_given_back_as_it_was_told(store):
    data = {"text": "日本 \U0001f600 \0", "n": 1.5, "list": [None, True], "deep": {"a": []}}
    with store.write() as tx:
        seq = append(tx, "reservation.held", data=data)
    with store.read() as tx:
        assert events.get(tx, seq) == events.Event(
            seq, "reservation.held", T0, "ota", "mc-1", "A-1", data
        )
        assert events.get(tx, seq + 1) is None


def test_what_is_rolled_back_leaves_no_gap(store):
    with store.write() as tx:
        append(tx)
    with pytest.raises(RuntimeError, match="no"), store.write() as tx:  # noqa: PT012 (the point)
        append(tx)
        raise RuntimeError("no")
    with store.write() as tx:
        append(tx)

    assert numbers(store) == [1, 2]


def test_many_writers_at_once_leave_no_gap(store, store_url):
    other = Store.open(store_url)  # as another process would

    def work(store):
        for _ in range(10):
            with store.write() as tx:
                append(tx)

    threads = [threading.Thread(target=work, args=(s,)) for s in (store, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()

    assert numbers(store) == list(range(1, 61))


def test_no_number_is_given_twice_though_all_events_are_forgotten(store):
    with store.write() as tx:
        for _ in range(3):
            append(tx)
    with store.write() as tx:
        assert events.forget(tx, before_ms=T0 + 1, rows_max=100, at_most=100) == 3
        assert (events.oldest(tx), events.newest(tx)) == (4, 3)
        assert append(tx) == 4


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"before_ms": T0 + 4}, [5, 6, 7, 8, 9, 10]),
        ({"rows_max": 3}, [8, 9, 10]),
        ({"before_ms": T0 + 4, "rows_max": 3}, [8, 9, 10]),
        ({"rows_max": 0}, []),
        ({"rows_max": 3, "at_most": 2}, [3, 4, 5, 6, 7, 8, 9, 10]),
        ({}, list(range(1, 11))),
    ],
)
def test_the_oldest_are_forgotten_by_age_and_by_number(store, told, left):
    with store.write() as tx:
        for n in range(10):
            append(tx, at_ms=T0 + n)
    with store.write() as tx:
        events.forget(tx, **({"before_ms": 0, "rows_max": 1000, "at_most": 1000} | told))

    assert numbers(store) == left


def test_a_clock_that_was_set_back_keeps_no_old_events_for_ever_and_tears_no_hole(store):
    with store.write() as tx:
        for at_ms in (T0 + 100, T0, T0 + 200):
            append(tx, at_ms=at_ms)
    with store.write() as tx:
        events.forget(tx, before_ms=T0 + 50, rows_max=1000, at_most=1000)
    assert numbers(store) == [1, 2, 3]
    with store.write() as tx:
        events.forget(tx, before_ms=T0 + 150, rows_max=1000, at_most=1000)
    assert numbers(store) == [3]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [1, 2, 3, 4]),
        ({"types": ["job"]}, [1, 2]),
        ({"types": ["job.held"]}, [2]),
        ({"types": ["job.held", "alarm"]}, [2, 3]),
        ({"types": ["jo"]}, []),
        ({"types": ["%"]}, []),
        ({"types": ["jo_"]}, []),
        ({"site": "suwa"}, [3]),
        ({"site": "ota", "machine": "mc-2"}, [4]),
        ({"site": "nowhere"}, []),
    ],
)
def test_readers_choose_by_type_site_and_machine(store, wanted, found):
    with store.write() as tx:
        append(tx, "job.running")
        append(tx, "job.held")
        append(tx, "alarm.raised", site="suwa")
        append(tx, "jobless.cause", machine="mc-2")
    with store.read() as tx:
        everything = events.after(tx, 0, limit=10)

    assert numbers(store, **wanted) == found
    assert [e.seq for e in everything if Wanted(**wanted).takes(e)] == found


@pytest.mark.parametrize(
    "odd",
    [{"site": "s" * 129}, {"type_": "t" * 65}, {"type_": ""}, {"data": {"x": "y" * 65_536}}],
)
def test_what_is_too_long_is_refused_and_takes_no_number(store, odd):
    with pytest.raises(ValueError, match=r"long|larger"), store.write() as tx:
        append(tx, **odd)

    assert numbers(store) == []


def test_half_a_character_in_a_name_is_mended(store):
    with store.write() as tx:
        append(tx, site="half \ud83d\0", machine="\udc00", data={"name": "\ud83d"})
    with store.read() as tx:
        [found] = events.after(tx, 0, limit=1)

    assert (found.site, found.machine, found.data) == ("half ?\ufffd", "?", {"name": "?"})
