"""Keep a dump of the store as this program writes it: `python -m tests.hub.store.keep`.

Run it once before each release that has a new schema version, and while version 1 is not released.
"""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hub.access import LOCAL
from hub.coordination.booking.booking import Action
from hub.store import Store, schema
from tests.hub.coordination.bookings import MINUTE, Bookings, step

FOLDER = Path(__file__).parents[2] / "cases" / "upgrade"


def keep():
    """Write a store with a chain, a hold and their answers as SQL; return where."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/coordination.sqlite"
        store = Store.open(f"sqlite:///{file}")
        bookings = Bookings(store)
        steps = step("mc-1", (1, 2), (3, 4)), step("press-1", (5, 6), site="suwa")
        chain = bookings.chain(*steps, reference="A-1", key="kept")
        bookings.reservations.act(Action.CONFIRM, chain.id, LOCAL, 1)
        bookings.clock.now_ms += MINUTE
        bookings.hold((7, 8), machine="mc-2", key="kept-too")
        store.close()
        with closing(sqlite3.connect(file)) as link:
            lines = list(link.iterdump())
    kept = FOLDER / f"coordination-{1 + len(schema.STEPS)}.sql"
    kept.write_text("\n".join(lines) + "\n")
    return kept


if __name__ == "__main__":
    keep()
