"""How long a search for capacity takes: 500 machines, 100 reservations each over 60 days.

All machines can do what is asked, all have shifts and a live state. Between two searches one offer
is held, as in life: so nothing may be remembered that a booking makes wrong.
"""

import random
import time
from typing import Any, Final

from sqlalchemy import insert

from benchmarks.figures import figure
from benchmarks.fleet import SITES, Fleet, free_folder, now_ms
from benchmarks.hub_parts import open_context
from hub.access import EVERYTHING, LOCAL
from hub.api import Context
from hub.coordination.booking.booking import HoldRequest
from hub.coordination.capacity.candidates import Terms
from hub.coordination.capacity.chains import Order
from hub.coordination.capacity.matching import Step
from hub.coordination.capacity.ranking import Weights
from hub.coordination.capacity.search import Query
from hub.coordination.directory.directory import Capability, Edits, MachineEdit, SiteEdit
from hub.schedule import Calendar, Rule
from hub.schedule.model import RuleKind
from hub.store.tables import metadata

MACHINES: Final = 500
RESERVATIONS: Final = 100
DAYS: Final = 60
SEARCHES: Final = 100
RUNS: Final = 3
SEED: Final = 7
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
HOME: Final = (35.56, 139.72)


def run() -> dict[str, dict[str, Any]]:
    """Measure single searches by their p95; first one, chains and shared lots besides."""
    fleet = Fleet(MACHINES)
    fleet.beat()
    context = open_context(fleet, free_folder("capacity"))
    rng = random.Random(SEED)
    furnish(context, rng)
    first = searched(context, one(rng))
    runs = [
        p95([held_and_searched(context, fleet, rng) for _ in range(SEARCHES)]) for _ in range(RUNS)
    ]
    shared = [searched(context, lots(rng)) for _ in range(SEARCHES // 5)]
    chains = [searched(context, chain(rng)) for _ in range(SEARCHES // 5)]
    context.historian.close()
    context.store.close()
    conditions = {"machines": MACHINES, "reservations": RESERVATIONS, "days": DAYS, "seed": SEED}
    between = {"between": "one offer held", "searches": SEARCHES}
    return {
        "capacity_search_p95_ms": figure("ms", runs, **conditions, **between),
        "capacity_search_first_ms": figure("ms", [first], **conditions, calendars="not cached"),
        "capacity_search_shared_p95_ms": figure("ms", [p95(shared)], **conditions, lots=4),
        "capacity_search_chain_p95_ms": figure("ms", [p95(chains)], **conditions, steps=3),
    }


def furnish(context: Context, rng: random.Random) -> None:
    """Give every machine a capability and bookings, every site a place and two shifts."""
    keys = sorted((each.site, each.machine) for each in context.live.machines())
    able = (Capability("milling-3axis", cycle_s=45.0, setup_min=30.0),)
    sites = {
        f"site-{n}": SiteEdit(
            f"site-{n}",
            time_zone="Asia/Tokyo",
            location=(HOME[0] + rng.uniform(-0.2, 0.2), HOME[1] + rng.uniform(-0.2, 0.2)),
        )
        for n in range(SITES)
    }
    machines = {key: MachineEdit(*key, capabilities=able, rated_power_kw=7.5) for key in keys}
    context.directory.load(Edits(sites=sites, machines=machines))
    for site in sites:
        context.calendars.put(site, None, hours(), who="benchmark", version=None)
    book(context, keys, rng)
    context.reservations.refresh()


def hours() -> Calendar:
    """Make a day shift with two breaks on weekdays and a night shift that crosses midnight."""
    days = ("mon", "tue", "wed", "thu", "fri")
    told = (
        (RuleKind.WORK, "08:00", "17:00"),
        (RuleKind.WORK, "20:00", "05:00"),
        (RuleKind.BREAK, "12:00", "13:00"),
        (RuleKind.BREAK, "15:00", "15:15"),
    )
    rules = tuple(Rule(kind=k, start=s, end=e, weekdays=days) for k, s, e in told)
    return Calendar(time_zone="Asia/Tokyo", holidays="JP", rules=rules)


def book(context: Context, keys: list[tuple[str, str]], rng: random.Random) -> None:
    """Write bookings of ten minutes to four hours as rows, at once: holding each takes an fsync."""
    at_ms = now_ms()
    heads, steps, segments = [], [], []
    for number in range(len(keys) * RESERVATIONS):
        site, machine = keys[number % len(keys)]
        start_ms = at_ms + rng.randrange(DAYS * DAY_MS)
        end_ms = start_ms + rng.randrange(10, 240) * MINUTE_MS
        id_ = f"{number:026d}"
        place = {"site": site, "machine": machine, "units": 1}
        heads.append(
            {
                "id": id_,
                "status": "confirmed",
                "version": 1,
                "created_ms": at_ms,
                "changed_ms": at_ms,
                "created_by": "benchmark",
                "starts_ms": start_ms,
                "ends_ms": end_ms,
                "due_ms": start_ms,
            }
        )
        steps.append({"reservation": id_, "place": 0, "unscheduled": False, **place})
        segments.append(
            {"reservation": id_, "place": 0, "start_ms": start_ms, "end_ms": end_ms, **place}
        )
    tables = metadata.tables
    with context.store.write() as tx:
        tx.connection.execute(insert(tables["reservation"]), heads)
        tx.connection.execute(insert(tables["reservation_step"]), steps)
        tx.connection.execute(insert(tables["reservation_segment"]), segments)
        tx.put(tables["reservation_head"], {"id": 1}, {"version": 1})


def one(rng: random.Random) -> Query:
    """Ask for one operation; a lot that may not pause must fit between two breaks."""
    splittable = rng.random() < 0.7
    quantity = rng.randrange(50, 900 if splittable else 150)
    return query(Step("milling-3axis", quantity, splittable=splittable, part_mass_kg=0.4))


def lots(rng: random.Random) -> Query:
    """Ask for one operation on a lot that four machines may share."""
    quantity = rng.randrange(2000, 6000)
    return query(Step("milling-3axis", quantity, splittable=True, max_lots=4, part_mass_kg=0.4))


def chain(rng: random.Random) -> Query:
    """Ask for three operations in a row."""
    steps = [
        Step("milling-3axis", rng.randrange(50, 400), splittable=True, part_mass_kg=0.4)
        for _ in range(3)
    ]
    return query(*steps)


def query(*steps: Step) -> Query:
    """Ask for delivery within thirty days, at home."""
    at_ms = now_ms()
    order = Order(steps, at_ms, at_ms + 30 * DAY_MS, HOME, Weights())
    return Query(order, Terms(deliver_to=HOME))


def searched(context: Context, asked: Query) -> float:
    """Search and give the milliseconds it took."""
    begun = time.perf_counter()
    found = context.capacity.search.find(asked, EVERYTHING)
    took_ms = (time.perf_counter() - begun) * 1000
    if not found.offers:
        raise RuntimeError(f"nothing was offered: {found.rejected[:3]}")
    return took_ms


def held_and_searched(context: Context, fleet: Fleet, rng: random.Random) -> float:
    """Hold what a search offers first, then search for something else and time that."""
    fleet.beat()
    offers = context.capacity.search.find(one(rng), EVERYTHING).offers
    request = HoldRequest((), 600, offer_id=rng.choice(offers).id)
    held = context.reservations.hold(request, LOCAL, EVERYTHING, f"key-{rng.getrandbits(64)}")
    if held.status != "held":
        raise RuntimeError("an offer could not be held")
    return searched(context, one(rng))


def p95(values: list[float]) -> float:
    """Give the 95th percentile: the smallest value that 95 of 100 do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * 95 // 100) - 1)]
