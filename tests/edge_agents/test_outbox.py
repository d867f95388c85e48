"""Samples become durable entries in few commits, and nothing is lost without being counted.

Only what is durable is handed on; aliases outlive restarts and changes of the configuration; a
failing disk costs nothing but the oldest samples beyond the buffer, and these are declared.
"""

import asyncio
import json
import logging
import sqlite3
from contextlib import asynccontextmanager

import pytest

from edge_agents.outbox import MachineBirth, Outbox, SignalBirth
from gateway.journal import Budget, Journal, JournalCorrupt, connect_sqlite
from gateway.model import Quality, Reason, Sample
from gateway.sparkplug import DataType, data_message, decode, names, typed

NOW_MS = 1_800_000_000_000
MIB = 1024 * 1024

MACHINE = MachineBirth(
    "mc-100",
    {"name": {"en": "Machining centre 100", "ja": "立形MC 100"}, "kind": "machining-centre"},
    (
        SignalBirth("spindle_rpm", "double", unit="rpm", max_age_ms=10_000),
        SignalBirth("alarm", "boolean"),
        SignalBirth("program", "string"),
        SignalBirth("serial", "int64"),
        SignalBirth("parts", "double", counts="good"),
    ),
)


class FailingDisk:
    """A connection to SQLite whose commits fail while told so."""

    def __init__(self):
        self.failing = False
        self._refused = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def refused_one(self):
        async with asyncio.timeout(10):
            await self._refused.wait()

    def connect(self, path):
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, parameters=(), /):
                if sql == "COMMIT" and disk.failing:
                    disk._loop.call_soon_threadsafe(disk._refused.set)
                    error = sqlite3.OperationalError("disk I/O error")
                    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                    raise error
                return super().execute(sql, parameters)

        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Connection
        )


@pytest.fixture
def open_journal(tmp_path):
    journals = []

    def opened(connect=connect_sqlite, bytes_max=8 * MIB):
        journal = Journal.open(
            tmp_path / "outbox.journal",
            budget=Budget(bytes_max, age_max_s=30 * 86_400, keep_settled_s=86_400),
            when_full="drop_oldest",
            now_ms=lambda: NOW_MS,
            random64=lambda: 7,
            connect=connect,
        )
        journals.append(journal)
        return journal

    yield opened
    for journal in journals:
        journal.close()


class Committed:
    """What the outbox handed on, and a way to wait for it."""

    def __init__(self):
        self.groups = []
        self._more = asyncio.Event()

    def __call__(self, entries):
        self.groups.append(entries)
        self._more.set()

    @property
    def entries(self):
        return [entry for group in self.groups for entry in group]

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition(self):
                self._more.clear()
                await self._more.wait()


def outbox_of(journal, committed, machines=(MACHINE,), **options):
    options = {"commit_interval_s": 0.0, "retry_s": (0.01,), "now_ms": lambda: NOW_MS} | options
    return Outbox(journal, machines=machines, on_committed=committed, **options)


@asynccontextmanager
async def running(outbox):
    task = asyncio.create_task(outbox.run())
    yield task
    task.cancel()
    await asyncio.wait([task])


def decoded(entry):
    """Decode an entry as a hub does."""
    message = data_message(
        entry.body, time_ms=NOW_MS, epoch=1, offset=entry.offset, seq=0, historical=False
    )
    return [metric for metric in decode(message).metrics if metric.name != names.ENTRY]


def metrics_of(outbox, machine="mc-100"):
    (found,) = [said.metrics for said in outbox.births().machines if said.machine == machine]
    return {metric.name: metric for metric in found}


async def test_samples_reach_the_journal_and_are_handed_on_only_then(open_journal):
    journal, committed = open_journal(), Committed()
    outbox = outbox_of(journal, committed)
    async with running(outbox):
        outbox.record("mc-100", [Sample("spindle_rpm", 1200.0, NOW_MS), Sample("alarm", False, 5)])  # noqa: FBT003 - a sample's value
        assert committed.groups == []
        await committed.until(lambda seen: seen.groups)

    (entry,) = committed.entries
    assert (entry.offset, entry.key, entry.count) == (1, "mc-100", 2)
    assert journal.read(1, 10) == [entry]
    aliases = metrics_of(outbox)
    assert {(m.alias, m.value, m.time_ms) for m in decoded(entry)} == {
        (aliases["spindle_rpm"].alias, 1200.0, NOW_MS),
        (aliases["alarm"].alias, False, 5),
    }


async def test_what_came_during_a_commit_is_one_entry_of_the_next(open_journal):
    committed = Committed()
    outbox = outbox_of(open_journal(), committed)
    for number in range(30):
        outbox.record("mc-100", [Sample("parts", float(number), NOW_MS + number)])
    async with running(outbox):
        await committed.until(lambda seen: seen.groups)

    assert [entry.count for entry in committed.entries] == [30]


async def test_a_batch_beyond_what_an_entry_may_hold_becomes_several(open_journal):
    committed = Committed()
    outbox = outbox_of(open_journal(), committed)
    outbox.record("mc-100", [Sample("program", "x" * 30_000, NOW_MS + n) for n in range(20)])
    outbox.record("mc-100", [Sample("parts", float(n), NOW_MS + n) for n in range(450)])
    async with running(outbox):
        await committed.until(lambda seen: sum(e.count for e in seen.entries) == 470)

    assert max(entry.count for entry in committed.entries) <= 200
    assert max(len(entry.body) for entry in committed.entries) <= 200 * 1024
    parts = metrics_of(outbox)["parts"].alias
    values = [m.value for e in committed.entries for m in decoded(e) if m.alias == parts]
    assert values == [float(n) for n in range(450)]


async def test_a_text_too_long_for_any_message_is_recorded_as_bad(open_journal):
    committed = Committed()
    outbox = outbox_of(open_journal(), committed)
    outbox.record("mc-100", [Sample("program", "x" * 300_000, NOW_MS), Sample("parts", 1.0, 1)])
    async with running(outbox):
        await committed.until(lambda seen: sum(e.count for e in seen.entries) == 2)

    text = metrics_of(outbox)["program"].alias
    (metric,) = [m for e in committed.entries for m in decoded(e) if m.alias == text]
    assert metric.value is None
    assert metric.properties == {names.QUALITY: 0, names.QUALITY_REASON: Reason.RANGE}


async def test_samples_of_one_signal_never_share_a_time_within_an_entry(open_journal):
    committed = Committed()
    outbox = outbox_of(open_journal(), committed)
    values = [("parts", 1.0, 10), ("parts", 2.0, 10), ("parts", 3.0, 11), ("spindle_rpm", 4.0, 10)]
    outbox.record("mc-100", [Sample(*value) for value in values])
    async with running(outbox):
        await committed.until(lambda seen: seen.groups)

    parts = metrics_of(outbox)["parts"].alias
    times = {(m.alias == parts, m.value): m.time_ms for m in decoded(committed.entries[0])}
    assert times == {(True, 1.0): 10, (True, 2.0): 11, (True, 3.0): 12, (False, 4.0): 10}


async def test_an_integer_beyond_two_to_the_53_keeps_its_last_digit(open_journal):
    committed = Committed()
    outbox = outbox_of(open_journal(), committed)
    outbox.record("mc-100", [Sample("serial", 2**53 + 1, NOW_MS), Sample("serial", -7, NOW_MS)])
    async with running(outbox):
        await committed.until(lambda seen: seen.groups)

    found = [typed(m, DataType.INT64) for m in decoded(committed.entries[0])]
    assert found == [2**53 + 1, -7]


async def test_a_signal_that_no_birth_announces_is_refused(open_journal):
    outbox = outbox_of(open_journal(), Committed())

    with pytest.raises(KeyError):
        outbox.record("mc-100", [Sample("nonsense", 1.0, NOW_MS)])
    with pytest.raises(KeyError):
        outbox.record("mc-999", [Sample("parts", 1.0, NOW_MS)])


async def test_cancelling_commits_what_was_recorded(open_journal):
    journal = open_journal()
    outbox = outbox_of(journal, Committed(), commit_interval_s=60.0)
    async with running(outbox):
        outbox.record("mc-100", [Sample("parts", 1.0, NOW_MS)])
        await asyncio.sleep(0)
        outbox.record("mc-100", [Sample("parts", 2.0, NOW_MS)])

    assert sum(entry.count for entry in journal.read(1, 10)) == 2


# Births


async def test_a_birth_tells_machine_signals_units_and_latest_values(open_journal):
    outbox = outbox_of(open_journal(), Committed())
    outbox.record("mc-100", [Sample("spindle_rpm", 900.0, 5)])
    outbox.record("mc-100", [Sample("alarm", None, 6, quality=Quality.BAD, reason=Reason.TIMEOUT)])

    said = metrics_of(outbox)

    assert json.loads(said[names.MACHINE].value) == MACHINE.description
    assert (said["spindle_rpm"].value, said["spindle_rpm"].time_ms) == (900.0, 5)
    assert said["spindle_rpm"].properties == {names.UNIT: "rpm"}
    assert said["parts"].properties == {
        names.COUNTS: "good", names.QUALITY: 500, names.QUALITY_REASON: Reason.STALE,
    }  # fmt: skip
    assert said["alarm"].value is None
    assert said["alarm"].properties == {names.QUALITY: 0, names.QUALITY_REASON: Reason.TIMEOUT}
    assert said[names.MAX_AGE].value == 10_000
    assert [said[name].datatype for name in (names.LINK, names.READ_AT, names.STATE)] == [
        DataType.BOOLEAN, DataType.DATETIME, DataType.STRING,
    ]  # fmt: skip
    assert min(metric.alias for metric in said.values() if metric.alias is not None) == 128


async def test_an_alias_survives_a_restart_and_is_never_given_to_another(open_journal):
    journal, committed = open_journal(), Committed()
    outbox = outbox_of(journal, committed)
    outbox.record("mc-100", [Sample("parts", 1.0, NOW_MS)])
    async with running(outbox):
        await committed.until(lambda seen: seen.groups)
    before = {name: metric.alias for name, metric in metrics_of(outbox).items()}
    journal.close()

    changed = MachineBirth("mc-100", {}, (SignalBirth("coolant", "double"), *MACHINE.signals[1:]))
    again = outbox_of(open_journal(), Committed(), machines=(changed,))

    after = {name: metric.alias for name, metric in metrics_of(again).items()}
    assert {name: after[name] for name in before} == before
    assert after["coolant"] not in before.values()


async def test_last_values_that_mean_nothing_any_more_are_in_no_birth(open_journal):
    births = [
        MachineBirth(machine, {}, (SignalBirth("parts", "double"), SignalBirth("rpm", "double")))
        for machine in ("mc-100", "mc-200")
    ]
    outbox = outbox_of(open_journal(), Committed(), machines=births)
    for machine in ("mc-100", "mc-200"):
        outbox.record(machine, [Sample("parts", 7.0, NOW_MS), Sample("rpm", 8.0, NOW_MS)])

    outbox.configure(births, {"mc-100": {"rpm"}})

    told = {
        (machine.machine, metric.name): metric.value
        for machine in outbox.births().machines
        for metric in machine.metrics
    }
    assert [told[machine, "parts"] for machine in ("mc-100", "mc-200")] == [7.0, 7.0]
    assert [told[machine, "rpm"] for machine in ("mc-100", "mc-200")] == [None, 8.0]


async def test_a_changed_datatype_is_a_new_alias_and_the_old_one_is_told_while_it_is_used(
    open_journal,
):
    journal, committed = open_journal(), Committed()
    outbox = outbox_of(journal, committed)
    outbox.record("mc-100", [Sample("parts", 1.0, NOW_MS)])
    async with running(outbox):
        await committed.until(lambda seen: seen.groups)
        old = metrics_of(outbox)["parts"].alias
        outbox.configure([MachineBirth("mc-100", {}, (SignalBirth("parts", "int64"),))])

        (machine,) = outbox.births().machines
        named = {(m.alias == old, m.datatype) for m in machine.metrics if m.name == "parts"}
        assert named == {(True, DataType.DOUBLE), (False, DataType.INT64)}
        assert all(
            m.value is None and m.properties[names.RETIRED] is True
            for m in machine.metrics
            if m.alias == old
        )

        outbox.record("mc-100", [Sample("parts", 2, NOW_MS)])
        await committed.until(lambda seen: len(seen.groups) > 1)
        for number in range(20):
            outbox.record("mc-100", [Sample("parts", number, NOW_MS)])
            await committed.until(lambda seen, n=number: len(seen.groups) > n + 2)
        journal.settle([(1, journal.next - 1)])
        (machine,) = outbox.births().machines
        assert old not in {metric.alias for metric in machine.metrics}


async def test_a_machine_taken_out_keeps_its_birth_until_its_last_entry_is_settled(open_journal):
    journal, committed = open_journal(), Committed()
    outbox = outbox_of(journal, committed)
    outbox.record("mc-100", [Sample("parts", 1.0, NOW_MS)])
    async with running(outbox):
        await committed.until(lambda seen: seen.groups)
    journal.close()

    journal = open_journal()
    other = MachineBirth("mc-200", {}, ())
    outbox = outbox_of(journal, Committed(), machines=(other,))
    assert [said.machine for said in outbox.births().machines] == ["mc-200", "mc-100"]

    journal.settle([(1, 1)])
    assert [said.machine for said in outbox.births().machines] == ["mc-200"]


# A disk that fails


async def test_a_failing_disk_is_told_once_and_costs_nothing_while_the_buffer_lasts(
    open_journal, caplog
):
    caplog.set_level(logging.INFO)
    disk, committed = FailingDisk(), Committed()
    journal = open_journal(disk.connect)
    outbox = outbox_of(journal, committed)
    disk.failing = True
    async with running(outbox):
        for number in range(10):
            outbox.record("mc-100", [Sample("parts", float(number), NOW_MS + number)])
            await disk.refused_one()
        await asyncio.sleep(0.05)  # Several more attempts, none of which is logged.
        assert not outbox.durable
        assert committed.groups == []
        assert metrics_of(outbox)["parts"].value == 9.0
        assert "disk I/O error" in outbox.status().trouble

        disk.failing = False
        await committed.until(lambda seen: sum(e.count for e in seen.entries) == 10)

    assert outbox.durable
    told = [record.levelname for record in caplog.records if record.name.startswith("edge_agents")]
    assert told == ["ERROR", "WARNING"]


async def test_samples_beyond_the_buffer_are_declared_as_dropped(open_journal):
    disk, committed = FailingDisk(), Committed()
    journal = open_journal(disk.connect)
    outbox = outbox_of(journal, committed, buffered_max=10, retry_s=(0.1,))
    disk.failing = True
    async with running(outbox):
        outbox.record("mc-100", [Sample("parts", 0.0, NOW_MS)])
        await disk.refused_one()
        # Without a pause: the outbox has not heard of the refusal yet.
        for number in range(1, 25):
            outbox.record("mc-100", [Sample("parts", float(number), NOW_MS + number)])
        disk.failing = False
        await committed.until(lambda seen: sum(e.count for e in seen.entries) == 10)
        outbox.record("mc-100", [Sample("parts", 25.0, NOW_MS + 25)])
        await committed.until(lambda seen: sum(e.count for e in seen.entries) == 11)

    announced, kept, _ = committed.entries  # Declared once, not again with what follows.
    assert announced.key == ""
    said = {metric.name: metric.value for metric in decoded(announced)}
    assert typed(decoded(announced)[0], DataType.UINT64_ARRAY) == [0, 0, 15]
    assert said[names.DROPPED_CAUSE] == "buffer"
    # The very first one was with the disk when the buffer overflowed.
    assert [metric.value for metric in decoded(kept)] == [0.0, *map(float, range(16, 25))]
    assert journal.stats().dropped == {"buffer": 15}


async def test_what_the_budget_forces_out_is_declared_in_an_entry(open_journal):
    journal, committed = open_journal(bytes_max=MIB), Committed()
    outbox = outbox_of(journal, committed)
    async with running(outbox):
        recorded = 0
        while not journal.stats().dropped_samples:
            texts = [Sample("program", "x" * 1000, NOW_MS + n) for n in range(40)]
            outbox.record("mc-100", texts)
            recorded += len(texts)
            await committed.until(lambda seen, r=recorded: sum(e.count for e in seen.entries) == r)

    declared = [
        typed(decoded(entry)[0], DataType.UINT64_ARRAY)
        for entry in committed.entries
        if entry.key == ""
    ]
    assert sum(samples for _, _, samples in declared) == journal.stats().dropped_samples
    kept = sum(entry.count for entry in journal.read(1, 100_000, 1 << 30))
    assert kept + journal.stats().dropped_samples == recorded
    assert min(first for first, _, _ in declared) == 1


async def test_under_a_new_epoch_entries_are_not_handed_on_with_their_old_numbers(open_journal):
    journal, committed = open_journal(), Committed()
    outbox = outbox_of(journal, committed)
    append, loop, turned = journal.append, asyncio.get_running_loop(), asyncio.Event()

    def append_then_turn(*arguments, **options):
        offset = append(*arguments, **options)
        journal.begin_new_epoch(lambda: 99)
        loop.call_soon_threadsafe(turned.set)
        return offset

    journal.append = append_then_turn
    outbox.record("mc-100", [Sample("parts", 1.0, NOW_MS)])
    async with running(outbox), asyncio.timeout(10):
        await turned.wait()

    assert committed.groups == []
    assert [entry.offset for entry in journal.unsettled(1, 10)] == [1]


async def test_hours_left_follow_the_rate(open_journal):
    now = NOW_MS
    journal, committed = open_journal(), Committed()
    outbox = outbox_of(journal, committed, now_ms=lambda: now)
    assert outbox.status().hours_left is None
    async with running(outbox):
        for minute in range(60):
            now = NOW_MS + minute * 60_000
            outbox.record("mc-100", [Sample("program", "x" * 6000, now)])
            await committed.until(lambda seen, m=minute: len(seen.groups) == m + 1)

    per_hour = 60 * 6100
    expected = journal.stats().bytes_free / per_hour
    assert outbox.status().hours_left == pytest.approx(expected, rel=0.1)


async def test_a_damaged_file_ends_the_run_so_that_a_restart_sets_it_aside(open_journal):
    def damaged(*_, **__):
        raise JournalCorrupt("a page is not what was written")

    journal = open_journal()
    outbox = outbox_of(journal, Committed())
    journal.append = damaged
    outbox.record("mc-100", [Sample("parts", 1.0, NOW_MS)])

    with pytest.raises(JournalCorrupt):
        async with asyncio.timeout(10):
            await outbox.run()
