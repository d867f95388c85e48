"""One machine's trouble on a Modbus line stays that machine's, and is told with its reason.

All over real sockets, against a controller written for the tests that misbehaves on demand.
"""

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from edge_agents.drivers.line import Line, LineMachine
from edge_agents.drivers.modbus import over_tcp
from edge_agents.drivers.registers import Kind, Limits, RegisterSignal, Table
from gateway.model import Quality, Reason
from tests.contract.test_drivers import Record, now_ms
from tests.edge_agents.drivers.plc import Plc

READING = {1, 2, 3, 4}


def word(name, address, kind=Kind.UINT16, table=Table.HOLDING, period_ms=100, **more):
    return RegisterSignal(name, table, address, kind, period_ms=period_ms, **more)


@asynccontextmanager
async def reading(plc, *machines):
    """Run a line with these machines, and record what it delivers."""
    record = Record()
    transport = over_tcp("127.0.0.1", plc.port)
    line = Line(transport, machines, now_ms=now_ms, rng=random.Random(3))
    task = asyncio.create_task(line.run(record))
    try:
        yield record, line
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def machine(name, device_id, *signals, **more):
    more.setdefault("timeout_s", 0.2)
    return LineMachine(name, device_id, signals or (word("a", 0),), **more)


def counts(record, name):
    return sum(1 for one in record.deliveries if one.machine == name and one.samples)


async def test_a_silent_unit_costs_its_neighbours_little_more_than_one_time_out():
    async with (
        Plc(words={0: 7}, silent={1}) as plc,
        reading(plc, *(machine(f"m{i}", i) for i in range(1, 5))) as (record, line),
    ):
        await record.until(lambda: counts(record, "m4") >= 25)
        times = [one.at_ms for one in record.deliveries if one.machine == "m4"]
        status = {one.machine: one for one in line.status().units}

    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < 100 + 200 + 150  # poll interval, one time-out, a busy test machine
    assert status["m1"].breaker_open
    assert not status["m2"].breaker_open
    asked = [unit for unit, *_ in plc.requests]
    assert asked.count(1) <= 6
    assert [one.reason for one in record.samples if one.quality is Quality.BAD] == [Reason.TIMEOUT]


async def test_several_silent_units_never_delay_the_others_one_after_another():
    units = [machine(f"m{i}", i) for i in range(1, 9)]
    async with Plc(words={0: 7}) as plc, reading(plc, *units) as (record, line):
        await record.until(lambda: counts(record, "m8") >= 3)
        plc.silent = {1, 3, 5}
        await record.until(lambda: line.status().timeouts >= 3)
        began_ms = now_ms()
        await record.until(lambda: sum(one.breaker_open for one in line.status().units) == 3)
        times = [one.at_ms for one in record.deliveries if one.machine == "m8"]

    gaps = [later - earlier for earlier, later in pairwise(times) if earlier > began_ms]
    assert max(gaps) < 100 + 200 + 150


async def test_a_unit_that_wakes_up_is_read_in_full_at_once():
    signals = (word("a", 0), word("b", 50))
    async with (
        Plc(words={0: 7, 50: 8}, silent={1}) as plc,
        reading(plc, machine("m1", 1, *signals), machine("m2", 2)) as (record, line),
    ):
        await record.until(lambda: line.status().units[0].breaker_open)
        plc.silent.clear()
        await record.until(lambda: {"a", "b"} <= set(good_of(record, "m1")))

    assert good_of(record, "m1") == {"a": 7, "b": 8}


def good_of(record, name):
    return {
        sample.signal: sample.value
        for one in record.deliveries
        if one.machine == name
        for sample in one.samples
        if sample.quality is Quality.GOOD
    }


async def test_units_with_equal_numbers_on_two_lines_do_not_know_of_each_other():
    async with (
        Plc(words={0: 1}, silent={1}) as dead,
        Plc(words={0: 2}) as alive,
        reading(dead, machine("m1", 1)) as (_, dead_line),
        reading(alive, machine("m2", 1)) as (record, alive_line),
    ):
        await record.until(lambda: counts(record, "m2") >= 10)
        assert not alive_line.status().units[0].breaker_open
        assert alive_line.status().timeouts == 0
        assert dead_line.status().timeouts >= 1


async def test_a_question_that_alone_is_met_by_silence_is_asked_more_rarely():
    class Picky(Plc):
        def _reply(self, unit, function, address, count):
            return b"" if address == 50 else super()._reply(unit, function, address, count)

        async def _answer(self, head, body, writer):
            if int.from_bytes(body[1:3], "big") == 50:
                self.requests.append((head[6], body[0], 50, 1))
                return
            await super()._answer(head, body, writer)

    signals = (word("a", 0), word("mute", 50))
    async with (
        Picky(words={0: 7}) as plc,
        reading(plc, machine("m1", 1, *signals)) as (record, line),
    ):
        await record.until(lambda: counts(record, "m1") >= 20)
        assert not line.status().units[0].breaker_open

    assert sum(1 for _, _, address, _ in plc.requests if address == 50) <= 4
    assert record.latest["mute"].reason is Reason.TIMEOUT
    assert record.latest["a"].value == 7


async def test_only_reading_functions_are_ever_sent():
    tables = (
        word("c", 0, Kind.BOOL, Table.COIL),
        word("d", 0, Kind.BOOL, Table.DISCRETE),
        word("i", 0, table=Table.INPUT),
        word("h", 0),
    )
    async with (
        Plc(words={0: 7}, bits={0: True}) as plc,
        reading(plc, machine("m1", 1, *tables)) as (record, _),
    ):
        await record.until(lambda: good_of(record, "m1") == {"c": True, "d": True, "i": 7, "h": 7})

    assert {function for _, function, _, _ in plc.requests} == READING


async def test_one_bad_address_is_said_once_by_name_and_the_rest_is_read(caplog):
    caplog.set_level(logging.INFO)
    signals = [word(f"s{i}", i) for i in range(10)]
    async with (
        Plc(words={i: i for i in range(10) if i != 6}) as plc,
        reading(plc, machine("m1", 1, *signals)) as (record, line),
    ):
        await record.until(lambda: len(good_of(record, "m1")) == 9 and counts(record, "m1") > 20)
        quarantined = line.status().units[0].quarantined

    assert quarantined == ("s6",)
    bad = [(one.signal, one.reason) for one in record.samples if one.quality is Quality.BAD]
    assert bad == [("s6", Reason.ADDRESS)]
    assert [one.getMessage() for one in caplog.records if "s6" in one.getMessage()] == [
        "m1 does not know holding 6 (s6): left out for now"
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1, Reason.REFUSED), (4, Reason.REFUSED), (6, Reason.REFUSED), (11, Reason.TIMEOUT)],
)
async def test_an_exception_is_told_once_with_its_reason(code, reason):
    async with (
        Plc(words={0: 7}, exceptions={1: code}) as plc,
        reading(plc, machine("m1", 1), machine("m2", 2)) as (record, line),
    ):
        await record.until(lambda: "m1" in {one.machine for one in record.deliveries})
        await record.until(lambda: counts(record, "m2") >= 10)
        bad = [one.reason for one in record.samples if one.quality is Quality.BAD]
        if code != 11:
            assert line.status().units[0].link, "an exception is an answer"

    assert bad == [reason]


async def test_a_busy_machine_is_asked_again_soon_and_nothing_is_lost():
    async with (
        Plc(words={0: 7}, exceptions={1: 6}) as plc,
        reading(plc, machine("m1", 1)) as (record, _),
    ):
        while len(plc.requests) < 2:
            await asyncio.wait({asyncio.create_task(asyncio.sleep(0.01))})
        plc.exceptions.clear()
        await record.until(lambda: good_of(record, "m1") == {"a": 7})

    assert all(one.quality is Quality.GOOD for one in record.samples)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"wrong_transaction": True}, Reason.TIMEOUT),
        ({"wrong_unit": True}, Reason.TIMEOUT),
        ({"short_by": 1}, Reason.GARBLED),
        ({"short_by": 2}, Reason.GARBLED),
        ({"garbage": b"\x00\x01\x00\x00\x00\x03\x01\x00\x00"}, Reason.TIMEOUT),
        ({"garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, Reason.GARBLED),
        ({"garbage": bytes(600)}, Reason.GARBLED),
        ({"hang_up": True}, Reason.CONNECTION),
    ],
    ids=str,
)
async def test_a_false_answer_never_becomes_a_value_and_the_true_one_is_read_again(fault, reason):
    async with (
        Plc(words={0: 7}) as plc,
        reading(plc, machine("m1", 1)) as (record, _),
    ):
        await record.until(lambda: good_of(record, "m1") == {"a": 7})
        plc.words[0] = 9
        for name, value in fault.items():
            setattr(plc, name, value)
        await record.until(lambda: record.latest["a"].quality is Quality.BAD)
        lost = record.latest["a"]
        for name in fault:
            setattr(plc, name, Plc.__dataclass_fields__[name].default)
        await record.until(lambda: record.latest["a"].value == 9)

    assert lost.reason is reason
    assert {one.value for one in record.samples} == {7, 9, None}


async def test_a_connection_that_ends_before_the_answer_is_noticed_without_waiting():
    async with (
        Plc(words={0: 7}, hang_up=True) as plc,
        reading(plc, machine("m1", 1, timeout_s=15.0)) as (record, _),
    ):
        await record.until(lambda: bool(record.samples), deadline_s=5.0)

    assert [one.reason for one in record.samples] == [Reason.CONNECTION]


async def test_an_answer_to_another_function_is_garbled():
    class Confused(Plc):
        def _reply(self, *_):
            return b"\x04\x02\x00\x07"

    async with (
        Confused(words={0: 7}) as plc,
        reading(plc, machine("m1", 1)) as (record, _),
    ):
        await record.until(lambda: bool(record.samples))

    assert [one.reason for one in record.samples][:1] == [Reason.GARBLED]


async def test_late_answers_are_never_taken_for_the_next_question():
    signals = (word("a", 0), word("b", 50))
    limits = Limits(alone=True)
    async with (
        Plc(words={0: 1, 50: 2}, delay_s={1: 0.14}) as plc,
        reading(plc, machine("m1", 1, *signals, limits=limits, timeout_s=0.1)) as (record, line),
    ):
        await record.until(lambda: line.status().timeouts >= 4)
        plc.delay_s.clear()
        await record.until(lambda: good_of(record, "m1") == {"a": 1, "b": 2})

    good = {(one.signal, one.value) for one in record.samples if one.quality is Quality.GOOD}
    assert good <= {("a", 1), ("b", 2)}


async def test_an_answer_that_drips_in_byte_by_byte_is_read():
    async with (
        Plc(words={0: 7}, slice_s=0.002) as plc,
        reading(plc, machine("m1", 1)) as (record, _),
    ):
        await record.until(lambda: good_of(record, "m1") == {"a": 7})


async def test_a_device_that_closes_idle_connections_loses_no_reading():
    class Closing(Plc):
        async def _answer(self, head, body, writer):
            await super()._answer(head, body, writer)
            await writer.drain()
            writer.close()

    async with (
        Closing(words={0: 7}) as plc,
        reading(plc, machine("m1", 1)) as (record, line),
    ):
        await record.until(lambda: counts(record, "m1") >= 5)
        assert line.status().reconnects >= 3

    assert all(one.quality is Quality.GOOD for one in record.samples)
    assert all(one.link for one in record.deliveries)


async def test_a_machine_switched_off_without_a_farewell_is_found_over_a_new_connection():
    async with (
        Plc(words={0: 7}) as plc,
        reading(plc, machine("m1", 1)) as (record, line),
    ):
        await record.until(lambda: good_of(record, "m1") == {"a": 7})
        before = plc.connections
        plc.silent.add(1)
        await record.until(lambda: line.status().units[0].breaker_open)
        plc.silent.clear()
        count = counts(record, "m1")
        await record.until(lambda: counts(record, "m1") > count + 1)

    assert plc.connections > before


async def test_the_time_of_a_reading_is_the_middle_of_question_and_answer():
    async with (
        Plc(words={0: 7}, delay_s={1: 0.1}) as plc,
        reading(plc, machine("m1", 1, timeout_s=1.0)) as (record, _),
    ):
        began_ms = now_ms()
        await record.until(lambda: bool(record.samples))
        ended_ms = now_ms()

    sample = record.samples[0]
    assert began_ms + 40 <= sample.time_ms <= ended_ms - 40
    assert record.deliveries[0].at_ms == sample.time_ms


async def test_a_line_that_cannot_keep_up_counts_what_it_left_out():
    async with (
        Plc(words={0: 7}, delay_s={1: 0.12}) as plc,
        reading(plc, machine("m1", 1, word("a", 0, period_ms=20), timeout_s=1.0)) as (
            record,
            line,
        ),
    ):
        await record.until(lambda: len(record.samples) >= 5)
        assert line.status().missed_polls >= 10
        assert line.status().rtt_ms == pytest.approx(125, abs=60)


async def test_different_paces_are_kept():
    signals = (word("fast", 0, period_ms=50), word("slow", 0, period_ms=400))
    async with (
        Plc(words={0: 7}) as plc,
        reading(plc, machine("m1", 1, *signals)) as (record, _),
    ):
        await record.until(lambda: sum(one.signal == "slow" for one in record.samples) >= 4)

    times = {
        name: [one.time_ms for one in record.samples if one.signal == name]
        for name in ("fast", "slow")
    }
    assert 1_150 <= times["slow"][3] - times["slow"][0] <= 1_500
    assert len(times["fast"]) >= 18


async def test_a_cancellation_that_a_library_swallows_is_obeyed_all_the_same():
    class Swallowing:
        name = "swallowing"
        connected = True
        numbered = True
        asked = asyncio.Event()

        async def read(self, *_):
            self.asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return b"\x00\x07"  # as asyncio.wait_for does when the answer is there already

        def close(self):
            pass

    transport = Swallowing()
    line = Line(transport, [machine("m1", 1)], now_ms=now_ms, rng=random.Random(1))
    task = asyncio.create_task(line.run(Record()))
    await transport.asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
