"""Everything about free capacity, put together over the parts that it rests on."""

from collections.abc import Callable
from dataclasses import dataclass

from hub.coordination.booking.reservations import Reservations
from hub.coordination.capacity.board import Board
from hub.coordination.capacity.candidates import Candidates
from hub.coordination.capacity.experience import Experience
from hub.coordination.capacity.instead import Instead
from hub.coordination.capacity.ledger import Ledger
from hub.coordination.capacity.offers import OfferBook
from hub.coordination.capacity.past import Past
from hub.coordination.capacity.present import Presence
from hub.coordination.capacity.search import Search
from hub.coordination.capacity.transport import Factors, Roads
from hub.coordination.directory.directory import Directory
from hub.coordination.hours.calendars import Calendars
from hub.coordination.jobs.jobs import Jobs
from hub.historian import Historian
from hub.live import Live
from hub.store import Store


@dataclass(frozen=True, slots=True)
class FreeCapacity:
    """What others ask for free capacity. `board.refresh` is to be called about every second."""

    ledger: Ledger
    presence: Presence
    experience: Experience
    search: Search
    board: Board
    instead: Instead
    """What `Reservations` calls for alternatives."""


def open_free_capacity(
    *,
    store: Store,
    directory: Directory,
    calendars: Calendars,
    reservations: Reservations,
    jobs: Jobs,
    live: Live,
    historian: Historian,
    offers: OfferBook,
    now_ms: Callable[[], int],
) -> FreeCapacity:
    """Put it together. `offers` is the book that `reservations` holds from."""
    past = Past(store, calendars)
    experience = Experience(
        historian=historian,
        runs=past.runs,
        hours=past.hours,
        booked=past.booked,
        now_ms=now_ms,
    )
    ledger = Ledger(directory=directory, hours=calendars, bookings=reservations, now_ms=now_ms)
    presence = Presence(jobs=jobs, experience=experience)
    roads = Roads(Factors.read(now_ms()))
    candidates = Candidates(
        taxonomy=directory.taxonomy,
        ledger=ledger,
        presence=presence,
        experience=experience,
        roads=roads,
    )
    search = Search(
        directory=directory,
        live=live,
        candidates=candidates,
        roads=roads,
        offers=offers,
        now_ms=now_ms,
    )
    board = Board(
        directory=directory,
        live=live,
        ledger=ledger,
        presence=presence,
        experience=experience,
        now_ms=now_ms,
    )
    instead = Instead(
        directory=directory, live=live, ledger=ledger, presence=presence, now_ms=now_ms
    )
    return FreeCapacity(ledger, presence, experience, search, board, instead)
