"""What was booked of a machine and kept is found, over or to come; what was given back is not."""

from hub.store import reservations as rows
from hub.store.allocations import KEPT, allocated
from hub.store.reservations import Reservation, Status, Step

HOUR = 3_600_000
NOW = 1_795_000_000_000


def booked(number, status, *segments, machine="mc-1", units=1):
    step = Step("ota", machine, units, tuple((NOW + s * HOUR, NOW + e * HOUR) for s, e in segments))
    return Reservation(
        id=f"{number:026d}",
        status=status,
        version=1,
        created_ms=NOW,
        changed_ms=NOW,
        created_by="test",
        organisation=None,
        reference=None,
        hold_expires_ms=NOW + HOUR if status is Status.HELD else None,
        steps=(step,),
    )


def test_only_what_was_kept_counts(store):
    with store.write() as tx:
        for number, status in enumerate(Status):
            rows.add(tx, booked(number, status, (number, number + 1)))
        rows.add(tx, booked(90, Status.DONE, (0, 9), machine="mc-2"))

    with store.read() as tx:
        found = allocated(tx, ("ota", "mc-1"), NOW, NOW + 99 * HOUR)

    places = [number for number, status in enumerate(Status) if status in KEPT]
    assert sorted(found) == [(NOW + n * HOUR, NOW + (n + 1) * HOUR, 1) for n in places]


def test_segments_that_only_touch_the_span_are_left_out(store):
    with store.write() as tx:
        rows.add(tx, booked(1, Status.DONE, (0, 1), (2, 3), (4, 5), units=2))

    with store.read() as tx:
        found = allocated(tx, ("ota", "mc-1"), NOW + HOUR, NOW + 4 * HOUR)

    assert found == [(NOW + 2 * HOUR, NOW + 3 * HOUR, 2)]
