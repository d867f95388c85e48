"""The inbox stores all or nothing, remembers whose each entry is, and keeps a bounded graveyard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import JournalFull, NewEntry
from hub import inbox as inbox_module
from hub.config import Limits
from hub.inbox import DeadLetter, Source
from hub.ingest.pipeline import open_inbox

ID = st.text(min_size=1, max_size=8).filter(lambda text: not set(text) & set("/+#\0"))


def opened(folder, **limits):
    return open_inbox(folder, Limits(**limits), now_ms=lambda: 0, random64=lambda: 7)


@pytest.fixture
def inbox(tmp_path):
    inbox = opened(tmp_path)
    yield inbox
    inbox.close()


def letter(number, payload=b"x"):
    return DeadLetter(number, "ota", "line-1", 9, number, "cut off", payload)


def entry(machine="mc-1", body=b"body"):
    return NewEntry(Source("ota", "line-1", machine).key, 5, body, 1)


@given(ID, ID, st.one_of(st.just(""), ID), st.booleans())
def test_a_source_comes_back_from_its_key(site, agent, machine, foreign):
    source = Source(site, agent, machine, foreign)
    assert Source.of_key(source.key) == source


def test_entries_marks_births_and_letters_are_there_after_reopening(tmp_path):
    inbox = opened(tmp_path)
    facts = {"mark/ota/line-1/9": b"m", "birth/ota/line-1/9/": b"b"}
    assert inbox.store([entry(), entry("mc-2")], facts, [letter(1)]) == 1
    inbox.close()

    again = opened(tmp_path)
    assert [e.key for e in again.read_after(0, 10)] == ["ota/line-1/mc-1", "ota/line-1/mc-2"]
    assert again.marks() == {"mark/ota/line-1/9": b"m"}
    assert again.births() == {"birth/ota/line-1/9/": b"b"}
    assert again.dead_letters() == [letter(1)]
    again.close()


def test_reading_stops_where_it_is_told_to(inbox):
    inbox.store([entry() for _ in range(5)], {})

    assert [e.offset for e in inbox.read_after(1, 10, 3)] == [2, 3]
    assert [e.offset for e in inbox.read_after(1, 1)] == [2]


def test_what_the_historian_has_leaves(inbox):
    inbox.store([entry() for _ in range(5)], {})
    inbox.written(3)
    inbox.store([entry()], {})

    assert [e.offset for e in inbox.read_after(0, 10)] == [4, 5, 6]


def test_a_full_inbox_stores_nothing_at_all(tmp_path):
    inbox = opened(tmp_path, inbox_mib=16)
    body = bytes(500_000)

    def fill():
        for number in range(100):
            inbox.store([entry(body=body)], {"birth/x/y/1/": str(number).encode()})

    with pytest.raises(JournalFull):
        fill()
    stored = inbox.next - 1
    assert inbox.births() == {"birth/x/y/1/": str(stored - 1).encode()}
    inbox.close()


def test_the_oldest_letters_give_way(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox_module, "DEAD_LETTERS_MAX", 3)
    inbox = opened(tmp_path)
    inbox.store([], {}, [letter(1), letter(2)])
    inbox.store([], {}, [letter(3), letter(4), letter(5)])
    inbox.close()

    again = opened(tmp_path)
    again.bury([letter(6)])
    assert [one.offset for one in again.dead_letters()] == [4, 5, 6]
    again.close()


def test_letters_are_bounded_in_bytes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox_module, "DEAD_LETTER_BYTES_MAX", 1000)
    inbox = opened(tmp_path)
    for number in range(5):
        inbox.bury([letter(number, bytes(300))])
    assert [one.offset for one in inbox.dead_letters()] == [3, 4]
    inbox.close()
