"""A machine that says what it makes starts and ends its jobs itself, and undoes nobody's work."""

import pytest

from hub.coordination.jobs.job_signals import JobSignals, signal_of
from hub.live import Alarms
from hub.store.jobs import JobStatus, Step
from tests.hub.coordination.jobs.test_jobs import OTA_VIEW, Shop


class Signalling(Shop):
    """A shop whose machine mc-1 shows its job in the signal `job`."""

    def __init__(self, store):
        super().__init__(store)
        self.alarms = Alarms(now_ms=self.clock)
        self.begin()

    def begin(self):
        self.signals = JobSignals(
            self.store, self.jobs, self.scene.live, self.alarms, {"ota/mc-*": "job"}
        )

    def show(self, number, machine="mc-1", **values):
        self.scene.read(machine, "running", job=number, **values)
        self.clock.now_ms += 1000
        self.jobs.turn()
        self.signals.turn()

    def status(self, job):
        return self.jobs.get(OTA_VIEW, job.id).status

    def on(self):
        return [(a.code, a.subject) for a in self.alarms.active()]


@pytest.fixture
def shop(store):
    return Signalling(store)


def test_a_number_starts_its_job_and_the_next_one_takes_its_place(shop):
    first, second = shop.add("A-1", quantity=3), shop.add("A-2", quantity=3)
    shop.show("")
    shop.show("A-1")
    assert shop.jobs.running("ota", "mc-1").job == "A-1"
    shop.count("mc-1", 2)
    shop.show("A-2")
    assert (shop.status(first), shop.status(second)) == (JobStatus.HELD, JobStatus.RUNNING)
    shop.count("mc-1", 5)
    shop.show("")

    assert shop.status(second) is JobStatus.COMPLETED
    assert shop.jobs.running("ota", "mc-1") is None
    assert shop.on() == []


def test_a_number_nobody_knows_is_one_alarm_until_it_goes(shop):
    shop.add("A-1")
    for _ in range(5):
        shop.show("A-9")
    assert [a.count for a in shop.alarms.active()] == [1]
    assert shop.on() == [("unknown-job", "ota/mc-1")]
    shop.show("A-1")

    assert shop.on() == []
    assert shop.jobs.running("ota", "mc-1").job == "A-1"


def test_what_a_person_does_is_not_undone_by_a_number_that_stays(shop):
    job = shop.add("A-1")
    shop.show("A-1")
    shop.do(job, "hold")
    for _ in range(3):
        shop.show("A-1")
    assert shop.status(job) is JobStatus.HELD
    shop.restart()
    shop.begin()
    shop.show("A-1")

    assert shop.status(job) is JobStatus.HELD


def test_a_change_while_the_hub_was_down_is_made_up_for(shop):
    first, second = shop.add("A-1"), shop.add("A-2")
    shop.show("A-1")
    shop.restart()
    shop.begin()
    shop.show("A-2")

    assert (shop.status(first), shop.status(second)) == (JobStatus.HELD, JobStatus.RUNNING)


def test_numbers_may_be_numbers(shop):
    job = shop.add("4711")
    shop.show(4711)

    assert shop.status(job) is JobStatus.RUNNING
    shop.show(0)
    assert shop.status(job) is JobStatus.HELD


def test_a_step_planned_elsewhere_is_not_taken(shop):
    shop.add("A-1", Step(1, "milling", "ota", "mc-2"))
    shop.show("A-1")

    assert shop.jobs.running("ota", "mc-1") is None
    assert shop.on() == [("unknown-job", "ota/mc-1")]


def test_a_step_without_a_machine_is_taken_by_the_one_that_says_so(shop):
    shop.add("A-1", Step(1, "milling", "ota", "mc-2"), Step(2, "drilling", "ota"))
    shop.show("A-1")

    assert shop.jobs.running("ota", "mc-1").step == 2


@pytest.mark.parametrize(
    ("machine", "signal"), [("mc-1", "job"), ("mc-9", "order"), ("press", None)]
)
def test_the_exact_name_of_a_machine_wins(machine, signal):
    assert signal_of({"ota/mc-*": "job", "ota/mc-9": "order"}, "ota", machine) == signal
