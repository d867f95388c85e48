"""Whatever is done to the rows of the audit shows: edits, removals, additions, another order."""

import json

import pytest
from sqlalchemy import delete, insert, select, update

from hub.store import audit
from hub.store.audit import FIRST_HASH, Break, canonical, chained, entry


def fill(store, count=6):
    for i in range(count):
        with store.write() as tx:
            audit.append(
                tx,
                who=f"person:{i % 2}",
                action="sharing.changed",
                subject="ota",
                detail={"n": i, "名": "大田"},
                now_ms=1000 + i,
                site="ota" if i % 2 else None,
            )


def verified(store):
    with store.read() as tx:
        return audit.verify(tx)


def test_an_untouched_chain_holds_and_begins_with_nothing(store):
    assert verified(store) is None
    fill(store)

    assert verified(store) is None
    with store.read() as tx:
        first = audit.before(tx, 2, limit=1)[0]
    content = {name: getattr(first, name) for name in first.__slots__ if name != "hash"}
    assert first.hash == chained(FIRST_HASH, content)


def change(store, *statements):
    with store.write() as tx:
        for statement in statements:
            tx.connection.execute(statement)


EDITS = (
    {"who": "person:9"},
    {"action": "nothing"},
    {"subject": "suwa"},
    {"time_ms": 7},
    {"site": "suwa"},
    {"detail": '{"n":99}'},
    {"detail": '{"n": 3, "名": "大田"}'},
    {"detail": "no json"},
    {"hash": "0" * 64},
)


def test_every_edit_of_a_row_shows(store):
    fill(store)
    with store.read() as tx:
        before = tx.connection.execute(select(entry).where(entry.c.seq == 4)).mappings().one()
    for edit in EDITS:
        change(store, update(entry).where(entry.c.seq == 4).values(**dict(before) | edit))
        found = verified(store)
        assert found is not None, edit
        assert found.seq == 4, edit
    change(store, update(entry).where(entry.c.seq == 4).values(**dict(before)))
    assert verified(store) is None


@pytest.mark.parametrize("seq", [1, 3, 6])
def test_every_removal_shows_the_newest_row_included(store, seq):
    fill(store)
    change(store, delete(entry).where(entry.c.seq == seq))

    assert verified(store) is not None


def test_removing_everything_shows(store):
    fill(store)
    change(store, delete(entry))

    assert verified(store) == Break(1, "the newest rows are missing: there were 6")


def test_two_rows_that_changed_places_show(store):
    fill(store)
    with store.write() as tx:
        rows = [
            dict(r) for r in tx.connection.execute(select(entry).order_by(entry.c.seq)).mappings()
        ]
        tx.connection.execute(delete(entry).where(entry.c.seq.in_((2, 3))))
        for row, seq in ((rows[1], 3), (rows[2], 2)):
            tx.connection.execute(insert(entry).values(**row | {"seq": seq}))

    assert verified(store).seq == 2


def test_a_row_put_in_with_a_right_hash_of_its_own_shows(store):
    fill(store, 2)
    with store.write() as tx:
        last = tx.connection.execute(select(entry).where(entry.c.seq == 2)).mappings().one()
        content = {**last, "seq": 3, "detail": json.loads(last["detail"])}
        del content["hash"]
        row = content | {
            "detail": canonical(content["detail"]),
            "hash": chained(last["hash"], content),
        }
        tx.connection.execute(insert(entry).values(**row))

    assert verified(store) is not None


def test_an_edit_with_every_later_hash_made_anew_shows_by_a_head_written_down_elsewhere(store):
    fill(store)
    with store.read() as tx:
        noted = audit.head(tx)
    change(store, update(entry).where(entry.c.seq == 2).values(who="person:9"))
    with store.write() as tx:
        last = FIRST_HASH
        for row in tx.connection.execute(select(entry).order_by(entry.c.seq)).mappings().all():
            content = {**row, "detail": json.loads(row["detail"])}
            del content["hash"]
            last = chained(last, content)
            tx.connection.execute(update(entry).where(entry.c.seq == row["seq"]).values(hash=last))
        tx.put(audit._head, {"id": 1}, {"seq": 6, "hash": last})

    assert verified(store) is None
    with store.read() as tx:
        assert audit.head(tx) != noted


def test_a_change_that_fails_leaves_no_trace(store):
    def fails():
        with store.write() as tx:
            audit.append(tx, who="a", action="b", subject="c", detail={}, now_ms=1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()

    fill(store, 1)
    assert verified(store) is None


def test_odd_texts_and_large_details_are_kept_as_far_as_a_row_can_hold_them(store):
    with store.write() as tx:
        audit.append(
            tx,
            who="x" * 999,
            action="\0\ud83d",
            subject="日本" * 400,
            detail={"a\0": "\ud83d\0"},
            now_ms=1,
        )
        audit.append(tx, who="x", action="y", subject="z", detail={"a": "x" * 20_000}, now_ms=2)

    assert verified(store) is None
    with store.read() as tx:
        large, odd = audit.before(tx, None, limit=9)
    assert set(large.detail) == {"bytes", "sha256"}
    assert "\0" not in json.dumps(odd.detail)


def test_rows_are_read_newest_first_and_by_site(store):
    fill(store)
    with store.read() as tx:
        assert [e.seq for e in audit.before(tx, None, limit=3)] == [6, 5, 4]
        assert [e.seq for e in audit.before(tx, 4, limit=9)] == [3, 2, 1]
        assert [e.seq for e in audit.before(tx, None, limit=9, sites={"ota"})] == [6, 4, 2]
        assert audit.before(tx, None, limit=9, sites=()) == []
