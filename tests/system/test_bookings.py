"""Nothing is ever booked twice, and no answer is ever given differently, whatever is killed.

Sixteen clients ask for the same hours at the same instants; the hub is killed meanwhile. On
PostgreSQL two hubs book in one store. `make chaos ARGS="--bookings 100000"` does it at length.
"""

import pytest

from tests.postgres import available
from tests.system import bookings

pytestmark = pytest.mark.system

HAVE_POSTGRESQL = pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")


@pytest.mark.parametrize(
    ("store", "operations"),
    [("sqlite", 3000), pytest.param("postgresql", 2000, marks=HAVE_POSTGRESQL)],
)
def test_thousands_of_bookings_at_once_and_a_killed_hub_double_nothing(tmp_path, store, operations):
    told = bookings.run(operations, store=store, kills=2, seed=20, folder=tmp_path)

    assert bookings.clean(told), told
    assert told["operations"] >= 0.8 * operations
    assert told["kills"] == 2
    assert told["lost_answers"] > 0
    assert told["answers"]["hold-201"] > 100
    assert told["answers"]["hold-409"] > 100


def test_the_judge_sees_a_double_booking():
    held = [(1, "reservation.held", "a", "m-1"), (2, "reservation.held", "b", "m-1")]
    released = (1.5, "reservation.released", "a", "m-1")
    rows = {"events": held, "segments": [("a", "m-1", 0, 20, 1), ("b", "m-1", 19, 30, 1)]}

    assert bookings.judge(rows) == [(2, "b", "m-1")]
    rows["events"] = sorted([*held, released])
    assert bookings.judge(rows) == []
    rows |= {"events": held, "segments": [("a", "m-1", 0, 20, 1), ("b", "m-1", 20, 30, 1)]}
    assert bookings.judge(rows) == []
