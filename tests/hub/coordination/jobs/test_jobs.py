"""Jobs: who may do what, what is on a machine, and how many parts it has made.

With a real store and a real live state, and a real historian where it has a say.
"""

import math

import numpy as np
import pytest

from hub.access import EVERYTHING, Caller, Role, View
from hub.access.view import Grant, Group, Level
from hub.columns import Columns
from hub.coordination.jobs.job_import import UnreadableError
from hub.coordination.jobs.job_rules import Action, IllegalTransitionError
from hub.coordination.jobs.jobs import (
    Jobs,
    MachineBusyError,
    NotYoursError,
    NumberTakenError,
    Order,
    StaleError,
    UnknownJobError,
    UnknownPlaceError,
)
from hub.historian import HistorianUnavailableError, WriteBatch, open_historian
from hub.store import audit, events
from hub.store.jobs import Asked, Job, JobStatus, Step
from tests.hub.scenes import Scene

HOUR = 3_600_000


def person(*sites, role=Role.SITE_ADMIN):
    return Caller("-".join(sites), "session", roles=frozenset({role}), sites=frozenset(sites))


OTA, SUWA = person("ota"), person("suwa")
WORKER = person("ota", role=Role.OPERATOR)
OTA_VIEW, SUWA_VIEW = View.of(["ota"], {}, 0), View.of(["suwa"], {}, 0)


class Away:
    """A historian that cannot be asked now: the live counters go on alone."""

    def counted(self, *_):
        raise HistorianUnavailableError("away")


class Shop:
    """Jobs around a scene whose machines count parts."""

    def __init__(self, store):
        self.store = store
        self.scene = Scene()
        for machine in ("mc-1", "mc-2"):
            self.scene.add(machine)
            self.count(machine, 0)
        self.scene.add("bath", site="suwa")
        self.clock = self.scene.clock
        self.historian = Away()
        self.restart()

    def restart(self):
        """Begin anew with nothing but what is stored."""
        numbers = iter(range(1, 1000))
        self.jobs = Jobs(
            self.store,
            places=self.scene.registry,
            live=self.scene.live,
            historian=self.historian,
            now_ms=self.clock,
            new_id=lambda: f"job{next(numbers)}",
        )

    def count(self, machine, good, scrap=0.0, site="ota"):
        for name, sort in (("good", "good"), ("scrap", "scrap")):
            series = self.scene.index.id(site, machine, name)
            self.scene.index.describe(series, unit=None, kind="double", counts=sort)
            self.scene.live.recount([series])
        self.scene.read(machine, "running", site=site, good=good, scrap=scrap)

    def stored(self, machine, *values):
        """Write counter values into the historian, a second apart and ending now."""
        series = self.scene.index.id("ota", machine, "good")
        times = self.clock() - 1000 * np.arange(len(values))[::-1]
        rows = Columns(
            series=np.full(len(values), series, np.int32),
            time_ms=times.astype(np.int64),
            value=np.array(values, np.float64),
            quality=np.zeros(len(values), np.uint8),
            reason=np.zeros(len(values), np.uint8),
            message=np.zeros(len(values), np.int32),
            text={},
        )
        self.historian.write(WriteBatch(rows))

    def add(self, number="A-1", *steps, caller=OTA, quantity=10, status=JobStatus.QUEUED):
        chosen = steps or (Step(1, "milling", "ota", "mc-1"),)
        new = Job("", "ota", number, "bracket", quantity, status, tuple(chosen))
        return self.jobs.create(caller, new)

    def do(self, job, action, caller=OTA, view=OTA_VIEW, version=None, **how):
        return self.jobs.order(caller, view, job.id, Order(Action(action), **how), version)

    def pass_time(self, ms=1000):
        self.clock.now_ms += ms
        self.jobs.turn()


@pytest.fixture
def shop(store):
    return Shop(store)


@pytest.fixture
def history(shop, tmp_path):
    """Give the shop a real historian."""
    shop.historian = open_historian(
        tmp_path / "history", shop.scene.index, memory_mib=64, raw_days=30, rollup_days=400
    )
    shop.restart()
    yield shop.historian
    shop.historian.close()


def told(store):
    with store.read() as tx:
        return [(e.type, e.site, e.machine) for e in events.after(tx, 0, limit=100)]


def test_a_job_runs_on_its_machine_and_counts_its_parts(shop):
    shop.count("mc-1", 5000)
    job = shop.add()
    assert shop.jobs.queued("ota", "mc-1")
    assert shop.jobs.running("ota", "mc-1") is None
    shop.do(job, "start")
    shop.pass_time()
    for n in range(1, 5):
        shop.clock.now_ms += 30_000
        shop.count("mc-1", 5000 + n)
        shop.pass_time(0)
    running = shop.jobs.running("ota", "mc-1")

    assert (running.job, running.part, running.quantity) == ("A-1", "bracket", 10)
    assert (running.done, running.remaining, running.cycle_s) == (4, 6, 30.0)
    assert not shop.jobs.queued("ota", "mc-1")


@pytest.mark.usefixtures("history")
def test_the_count_goes_on_across_a_reset_and_a_hub_that_was_down(shop):
    job = shop.add()
    shop.stored("mc-1", 100.0)
    shop.count("mc-1", 100)
    shop.do(job, "start")
    shop.pass_time()
    shop.clock.now_ms += HOUR
    # Meanwhile: three parts, a reset, two parts; the hub hears only the end of it.
    shop.stored("mc-1", 100.0, 101.0, 103.0, 0.0, 2.0)
    shop.count("mc-1", 2)
    shop.restart()
    shop.pass_time()
    assert shop.jobs.running("ota", "mc-1").done == 5
    shop.count("mc-1", 4)
    shop.pass_time()

    assert shop.jobs.running("ota", "mc-1").done == 7
    assert shop.do(job, "hold").steps[0].good == 7


def test_the_first_part_counts_too(shop):
    shop.count("mc-1", 7)
    job = shop.add()
    shop.do(job, "start")
    shop.count("mc-1", 8)
    shop.pass_time()

    assert shop.jobs.running("ota", "mc-1").done == 1


def test_parts_of_several_runs_add_up_and_a_person_s_word_counts(shop):
    job = shop.add()
    shop.do(job, "start")
    shop.pass_time()
    shop.count("mc-1", 4, scrap=1)
    assert (shop.do(job, "hold").steps[0].good, shop.jobs.running("ota", "mc-1")) == (4, None)
    shop.count("mc-1", 50)
    shop.do(job, "start")
    shop.pass_time()
    assert shop.jobs.running("ota", "mc-1").remaining == 6
    shop.count("mc-1", 53)
    done = shop.do(job, "finish", good=6.0, scrap=2.0)

    assert done.status is JobStatus.COMPLETED
    assert (done.steps[0].good, done.steps[0].scrap) == (10, 3)


def test_one_job_at_a_time_is_on_a_machine(shop):
    first, second = shop.add("A-1"), shop.add("A-2")
    shop.do(first, "start")
    with pytest.raises(MachineBusyError):
        shop.do(second, "start")
    shop.do(second, "start", machine="mc-2")

    assert shop.jobs.running("ota", "mc-2").job == "A-2"


def test_cancelling_takes_a_job_off_its_machine(shop):
    job = shop.add()
    shop.do(job, "start")
    assert shop.do(job, "cancel").status is JobStatus.CANCELLED
    assert shop.jobs.running("ota", "mc-1") is None
    assert not shop.jobs.queued("ota", "mc-1")


def test_what_was_on_a_machine_can_be_asked_for(shop):
    begin = shop.clock()
    first, second = shop.add("A-1"), shop.add("A-2")
    shop.do(first, "start")
    shop.clock.now_ms += HOUR
    shop.do(first, "hold")
    shop.clock.now_ms += HOUR
    shop.do(second, "start")
    shop.clock.now_ms += HOUR

    def asked(from_h, to_h):
        found = shop.jobs.order_intervals("ota", "mc-1", begin + from_h * HOUR, begin + to_h * HOUR)
        return [(o.job, (o.start_ms - begin) / HOUR, (o.end_ms - begin) / HOUR) for o in found]

    assert asked(0, 9) == [("A-1", 0, 1), ("A-2", 2, 3)]
    assert asked(0.5, 2.5) == [("A-1", 0.5, 1), ("A-2", 2, 2.5)]
    assert asked(1, 2) == []


def test_every_change_is_an_event_and_in_the_audit(shop):
    job = shop.add()
    shop.do(job, "start", caller=WORKER)
    shop.do(job, "finish", caller=WORKER)
    shop.do(job, "close")

    assert told(shop.store) == [
        ("job.created", "ota", None),
        ("job.started", "ota", "mc-1"),
        ("job.finished", "ota", "mc-1"),
        ("job.closed", "ota", None),
    ]
    with shop.store.read() as tx:
        found = audit.before(tx, None, limit=10)
    assert [(e.who, e.action, e.subject) for e in reversed(found)] == [
        ("ota", "job.created", "ota/A-1"),
        ("ota", "job.started", "ota/A-1"),
        ("ota", "job.finished", "ota/A-1"),
        ("ota", "job.closed", "ota/A-1"),
    ]


def test_an_illegal_order_leaves_no_trace(shop):
    job = shop.add()
    with pytest.raises(IllegalTransitionError):
        shop.do(job, "finish")

    assert told(shop.store) == [("job.created", "ota", None)]
    assert shop.jobs.get(EVERYTHING, job.id) == job


CHAIN = (Step(1, "milling", "ota", "mc-1"), Step(2, "plating", "suwa"))


def test_who_makes_a_step_sees_it_and_works_on_it_and_nothing_else(shop):
    job = shop.add("A-1", *CHAIN)
    seen = shop.jobs.get(SUWA_VIEW, job.id)

    assert [step.seq for step in seen.steps] == [2]
    assert [j.id for j in shop.jobs.find(SUWA_VIEW, Asked())] == [job.id]
    with pytest.raises(NotYoursError):
        shop.do(job, "start", SUWA, SUWA_VIEW, step=1)
    with pytest.raises(NotYoursError):
        shop.do(job, "start", OTA, OTA_VIEW, step=2, machine="bath")
    with pytest.raises(NotYoursError):
        shop.do(job, "cancel", SUWA, SUWA_VIEW)
    with pytest.raises(NotYoursError):
        shop.jobs.change(SUWA, SUWA_VIEW, seen, seen.version)
    after = shop.do(job, "start", SUWA, SUWA_VIEW, step=2, machine="bath")
    assert [step.seq for step in after.steps] == [2]
    assert shop.jobs.running("suwa", "bath").job == "A-1"
    assert len(shop.jobs.get(OTA_VIEW, job.id).steps) == 2


def test_nobody_plans_the_machines_of_somebody_else(shop):
    with pytest.raises(NotYoursError):
        shop.add("A-1", Step(1, "plating", "suwa", "bath"))
    with pytest.raises(NotYoursError):
        shop.add("A-1", caller=SUWA)
    with pytest.raises(NotYoursError):
        shop.add("A-1", caller=WORKER)


@pytest.mark.parametrize(("level", "sees"), [(Level.NONE, 0), (Level.COARSE, 0), (Level.FULL, 1)])
def test_others_see_jobs_when_the_owner_shares_them_in_full(shop, level, sees):
    shop.add()
    grants = {"ota": [Grant({Group.PRESENCE: Level.FULL, Group.JOB_DETAIL: level})]}
    view = View.of(["suwa"], grants, 0)

    assert len(shop.jobs.find(view, Asked())) == sees
    if not sees:
        with pytest.raises(UnknownJobError):
            shop.jobs.get(view, "job1")


def test_a_number_is_given_once_per_site(shop):
    shop.add("A-1")
    with pytest.raises(NumberTakenError):
        shop.add("A-1")


@pytest.mark.parametrize("step", [Step(1, "x", "ota", "mc-99"), Step(1, "x", "atlantis")])
def test_what_nobody_knows_is_not_planned_on(shop, step):
    with pytest.raises(UnknownPlaceError):
        shop.add("A-1", step)


def test_a_change_is_made_to_what_was_read(shop):
    job = shop.add()
    shop.do(job, "start", version=1)
    with pytest.raises(StaleError):
        shop.jobs.change(OTA, OTA_VIEW, job, 1)
    with pytest.raises(StaleError):
        shop.do(job, "hold", version=1)


def test_a_table_is_taken_over_whole_or_not_at_all(shop):
    shop.add("A-3")

    def table(*numbers, machine="mc-1"):
        step = Step(1, "milling", "ota", machine)
        return [
            (n, Job("", "ota", number, "x", 1, JobStatus.PLANNED, (step,)))
            for n, number in enumerate(numbers, 2)
        ]

    with pytest.raises(UnreadableError) as caught:
        shop.jobs.import_all(OTA, table("A-1", "A-2", "A-3"), dry_run=False)
    assert [(m.line, m.column) for m in caught.value.mistakes] == [(4, "number")]
    with pytest.raises(UnreadableError):
        shop.jobs.import_all(OTA, table("A-1", machine="mc-99"), dry_run=False)
    shop.jobs.import_all(OTA, table("A-1", "A-2"), dry_run=True)
    assert len(shop.jobs.find(EVERYTHING, Asked())) == 1
    shop.jobs.import_all(OTA, table("A-1", "A-2"), dry_run=False)

    assert {j.number for j in shop.jobs.find(EVERYTHING, Asked())} == {"A-1", "A-2", "A-3"}
    assert told(shop.store)[-1] == ("job.imported", "ota", None)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Asked(), ["A-1", "A-2", "A-3"]),
        (Asked(machine="mc-2", site="ota"), ["A-2"]),
        (Asked(status=JobStatus.RUNNING), ["A-1"]),
        (Asked(number="A-3"), ["A-3"]),
        (Asked(site="suwa"), ["A-3"]),
        (Asked(site="nowhere"), []),
        (Asked(limit=2), ["A-1", "A-2"]),
    ],
)
def test_jobs_are_found_by_place_status_and_number(shop, asked, found):
    shop.do(shop.add("A-1"), "start")
    shop.clock.now_ms += 1
    shop.add("A-2", Step(1, "x", "ota", "mc-2"))
    shop.clock.now_ms += 1
    shop.add("A-3", *CHAIN)

    assert [job.number for job in shop.jobs.find(EVERYTHING, asked)] == found


def test_pages_join_to_the_whole_list(shop):
    for n in range(7):
        shop.add(f"A-{n}")
    seen, after = [], None
    while page := shop.jobs.find(EVERYTHING, Asked(after=after, limit=3)):
        seen += [job.number for job in page]
        after = (page[-1].created_ms, page[-1].id)

    assert seen == [f"A-{n}" for n in range(7)]


def test_another_process_is_noticed(shop):
    job = shop.add()
    assert shop.jobs.running("ota", "mc-1") is None
    version = shop.jobs.version
    other = Shop.__new__(Shop)
    other.__dict__ = dict(shop.__dict__)
    other.restart()
    other.do(job, "start")
    shop.pass_time(6000)

    assert shop.jobs.running("ota", "mc-1").job == "A-1"
    assert shop.jobs.version > version
    assert math.isfinite(shop.jobs.running("ota", "mc-1").done)
