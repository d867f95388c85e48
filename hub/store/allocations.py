"""What was booked of a machine, over and to come: a read over the rows of reservations."""

from typing import Final

from sqlalchemy import Table, select

from hub.store.reservations import Status, reservation
from hub.store.tables import metadata
from hub.store.transaction import Tx

KEPT: Final = (Status.CONFIRMED, Status.RUNNING, Status.DONE)
"""What was neither given back nor let go."""
_segment: Final[Table] = metadata.tables["reservation_segment"]


def allocated(
    tx: Tx, machine: tuple[str, str], from_ms: int, to_ms: int
) -> list[tuple[int, int, int]]:
    """Give start, end and units of every booking that touches a span and was kept."""
    asked = (
        select(_segment.c.start_ms, _segment.c.end_ms, _segment.c.units)
        .join(reservation, reservation.c.id == _segment.c.reservation)
        .where(_segment.c.site == machine[0], _segment.c.machine == machine[1])
        .where(_segment.c.end_ms > from_ms, _segment.c.start_ms < to_ms)
        .where(reservation.c.status.in_([status.value for status in KEPT]))
    )
    return [(row[0], row[1], row[2]) for row in tx.connection.execute(asked)]
