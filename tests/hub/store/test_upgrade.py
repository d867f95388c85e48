"""Stores as released programs left them can be opened, and nothing in them is lost.

``tests/cases/upgrade/`` keeps one dump for each schema version that was ever released. They are
never edited: what this program makes of them is the test.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hub.access import LOCAL
from hub.coordination.booking.refusals import ConflictError
from hub.store import Store, schema
from hub.store.reservations import Status, Wanted
from hub.store.tables import metadata
from tests.hub.coordination.bookings import Bookings

CASES = sorted((Path(__file__).parents[2] / "cases" / "upgrade").glob("coordination-*.sql"))
NEWEST = 1 + len(schema.STEPS)


def test_a_dump_is_kept_of_every_version_up_to_this_one():
    assert [int(re.sub(r"\D", "", case.stem)) for case in CASES] == list(range(1, NEWEST + 1))


@pytest.fixture(params=CASES, ids=lambda case: case.stem)
def old(request, tmp_path):
    """Give the URL of a store as an older program left it."""
    file = tmp_path / "coordination.sqlite"
    with closing(sqlite3.connect(file)) as link:
        link.executescript(request.param.read_text())
    return f"sqlite:///{file}"


def test_what_was_booked_is_still_booked_and_answered(old):
    store = Store.open(old)
    bookings = Bookings(store)

    found = bookings.reservations.find(Wanted(), LOCAL, 10)
    assert [(r.status, len(r.steps), r.reference) for r in found] == [
        (Status.HELD, 1, None),
        (Status.CONFIRMED, 2, "A-1"),
    ]
    assert bookings.hold((7, 8), machine="mc-2", key="kept-too").id == found[0].id
    with pytest.raises(ConflictError):
        bookings.hold((1, 2))
    assert bookings.busy("press-1", "suwa") == [(5, 6, 1)]
    store.close()


def test_every_table_of_today_is_there_afterwards_with_every_column(old):
    Store.open(old).close()
    with closing(sqlite3.connect(old.removeprefix("sqlite:///"))) as link:
        for table in metadata.sorted_tables:
            columns = {row[1] for row in link.execute(f"PRAGMA table_info({table.name})")}
            assert columns == set(table.c.keys()), table.name
        [[version]] = link.execute("SELECT value FROM meta WHERE key = 'schema_version'")
    assert version == str(NEWEST)
