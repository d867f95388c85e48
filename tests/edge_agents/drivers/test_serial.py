"""A serial line keeps one unit's trouble from the others, and no late or spoilt answer is a value.

Over real pseudo terminals. Each answer carries the number of its question; one that is taken for
the answer to a later question is a wrong value, and there must be none.
"""

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from edge_agents.drivers.frames import RtuFraming
from edge_agents.drivers.line import Disconnected, Line, LineMachine
from edge_agents.drivers.modbus import ModbusTransport, Pace, over_serial
from edge_agents.drivers.registers import Block, Kind, Limits, RegisterSignal, Table
from edge_agents.drivers.serial_port import SerialLink, SerialSettings
from gateway.model import Quality, Reason
from tests.contract.test_drivers import Record, now_ms
from tests.edge_agents.drivers.bus import Bus

PERIOD_MS = 25
TIMEOUT_S = 0.06
SLACK_MS = 120
"""What a busy test machine may add."""
KNOWN = 2
"""Questions that met trouble before it is known who makes it."""
WORDS = Block(Table.HOLDING, 40, 3, 1_000, ())


def port(bus, path=None):
    settings = SerialSettings(path or bus.path, 115_200)
    # A pseudo terminal hands over at once, so silence is told sooner than through an adapter.
    return ModbusTransport(SerialLink(settings), RtuFraming, Pace(0.0, 0.005))


def unit(number, *, blocks=2, period_ms=PERIOD_MS, timeout_s=TIMEOUT_S):
    """A machine that is read in several blocks of the same shape."""
    signals = tuple(
        RegisterSignal(f"{what}{block}", Table.HOLDING, 40 * block + place, period_ms=period_ms)
        for block in range(blocks)
        for place, what in enumerate(("number", "place"))
    )
    return LineMachine(f"m{number}", number, signals, Limits(), timeout_s)


class Reader(Record):
    """Records what a line delivers, and judges each value the moment that it comes."""

    def __init__(self, bus, hopeless=()):
        super().__init__()
        self.hopeless = hopeless
        """Units that never answer in time."""
        self.bus = bus
        self.good = 0
        self.wrong = []
        self.seen = {}
        """By machine and block: when it was read, and how much trouble there had been by then."""
        self.reasons = set()
        self.good_of = set()

    def __call__(self, delivery):
        number = int(delivery.machine[1:])
        for sample in delivery.samples:
            self.reasons.add(sample.reason)
            if sample.quality is Quality.GOOD:
                self.good += 1
                self.good_of.add(delivery.machine)
                what, block = sample.signal[:-1], int(sample.signal[-1])
                place = number << 8 | (40 * block + 1) % 256
                right = self.bus.asked[number] % 65_536 if what == "number" else place
                if sample.value != right:
                    self.wrong.append((delivery.machine, sample, right))
        if any(one.quality is Quality.BAD for one in delivery.samples):
            # On a computer that is too busy a healthy unit may be late, too.
            for (machine, _), seen in self.seen.items():
                if machine == delivery.machine:
                    seen.append(None)
        elif any(one.quality is Quality.GOOD for one in delivery.samples):
            block = delivery.samples[0].signal[-1]
            seen = self.seen.setdefault((delivery.machine, block), [])
            seen.append((delivery.at_ms, sum(self.bus.troubled[one] for one in self.hopeless)))
        super().__call__(delivery)
        if len(self.deliveries) > 5_000:
            del self.deliveries[:4_000]

    def gaps(self, machines):
        """Between each two readings: milliseconds, and questions that met trouble meanwhile."""
        return [
            (later_ms - earlier_ms, trouble - before)
            for (machine, _), seen in self.seen.items()
            if machine in machines
            for earlier, later in pairwise(seen)
            if earlier is not None and later is not None
            for (earlier_ms, before), (later_ms, trouble) in [(earlier, later)]
            if before >= KNOWN
        ]


@asynccontextmanager
async def reading(bus, *machines, transport=None, hopeless=()):
    record = Reader(bus, hopeless)
    line = Line(transport or port(bus), machines, now_ms=now_ms, rng=random.Random(3))
    task = asyncio.create_task(line.run(record))
    try:
        yield record, line
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_dead_slow_and_garbling_units_cost_the_healthy_ones_one_time_out_and_no_value():
    dead, slow, garbling, erratic = 2, 5, 8, 11
    healthy = {f"m{number}" for number in (1, 3, 4, 6, 7, 9, 10)}
    rng = random.Random(9)
    async with Bus(11) as bus, Bus(11) as other:
        bus.silent.add(dead)
        bus.delay_s[slow] = 1.4 * TIMEOUT_S
        bus.delay_s[erratic] = lambda: rng.choice([0.0, 0.0, rng.uniform(1, 2) * TIMEOUT_S])
        bus.garbling[garbling] = 0.5
        async with (
            reading(bus, *map(unit, range(1, 12)), hopeless=(dead, slow)) as (record, line),
            reading(other, unit(dead, period_ms=100, timeout_s=2.0)) as (elsewhere, other_line),
        ):
            await record.until(lambda: sum(bus.asked.values()) >= 10_000, deadline_s=120)
            status = {one.machine: one for one in line.status().units}
            others = other_line.status()

    assert record.wrong == []
    assert record.good > 10_000
    assert {f"m{garbling}", f"m{erratic}"} <= record.good_of
    assert Reason.GARBLED in record.reasons
    gaps = record.gaps(healthy)
    assert len(gaps) > 3_000
    # Counted, because that does not depend on how busy the computer is; and measured.
    assert max(trouble for _, trouble in gaps) <= 1
    spans_ms = sorted(span_ms for span_ms, _ in gaps)
    assert spans_ms[len(spans_ms) * 99 // 100] <= PERIOD_MS + TIMEOUT_S * 1_000 + SLACK_MS
    assert not any(status[machine].breaker_open for machine in healthy)
    assert status[f"m{dead}"].breaker_open
    assert status[f"m{slow}"].breaker_open
    assert not record.good_of & {f"m{dead}", f"m{slow}"}
    # The same number on another line knows nothing of all this.
    assert others.timeouts == 0
    assert elsewhere.wrong == []
    assert elsewhere.reasons == {Reason.NONE}


@pytest.mark.parametrize("slowest", [1.4, 2.5, 6.0])
async def test_however_late_an_answer_is_it_is_never_taken_for_another(slowest):
    rng = random.Random(7)
    async with Bus(2) as bus:
        bus.delay_s[1] = lambda: rng.choice([0.0, 0.0, rng.uniform(0, slowest) * 0.02])
        async with reading(bus, unit(1, blocks=3, timeout_s=0.02), unit(2)) as (record, line):
            await record.until(lambda: line.status().timeouts >= 5 and record.good >= 500)

    assert record.wrong == []


async def test_noise_in_place_of_a_unit_is_no_link_and_is_soon_left_alone():
    async with Bus(2) as bus:
        bus.garbling[1] = 1.0
        async with reading(bus, unit(1), unit(2)) as (record, line):
            await record.until(lambda: line.status().units[0].breaker_open)
            before = record.good
            await record.until(lambda: record.good >= before + 20)
            noisy, healthy = line.status().units

    assert not noisy.link
    assert healthy.link
    assert record.reasons <= {Reason.NONE, Reason.GARBLED, Reason.TIMEOUT}
    assert Reason.GARBLED in record.reasons
    assert record.wrong == []


async def test_an_answer_in_pieces_between_noise_is_read():
    class Noisy(Bus):
        def send(self, data):
            loop = asyncio.get_running_loop()
            super().send(b"\0\xff")
            for place, byte in enumerate(data):
                loop.call_later(0.0005 * place, super().send, bytes([byte]))

    async with Noisy(1) as bus, reading(bus, unit(1, timeout_s=1.0)) as (record, line):
        await record.until(lambda: record.good >= 20)
        assert line.status().timeouts == 0

    assert record.wrong == []


async def test_a_port_that_vanishes_and_comes_back_under_its_name_is_read_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    name = tmp_path / "usb-adapter-port0"
    async with Bus(1) as bus:
        name.symlink_to(bus.path)
        async with reading(bus, unit(1), transport=port(bus, str(name))) as (record, line):
            await record.until(lambda: record.good >= 4)
            bus.unplug()
            name.unlink()
            await record.until(lambda: record.latest["number0"].reason is Reason.CONNECTION)
            assert not line.status().connected
            bus.plug()
            name.symlink_to(bus.path)
            before = record.good
            await record.until(lambda: record.good >= before + 4)

    assert record.wrong == []
    said = [one.getMessage() for one in caplog.records if "m1" in one.getMessage()]
    assert len(said) == 2
    assert "is its adapter plugged in?" in said[0]
    assert "m1 answers again" in said[1]


async def test_a_port_that_another_program_uses_is_refused_with_the_reason():
    async with Bus(1) as bus:
        first, second = port(bus), port(bus)
        await first.connect(1.0)
        with pytest.raises(Disconnected, match="is in use by another program"):
            await second.connect(1.0)
        assert await first.read(1, WORDS, 1.0) == bytes.fromhex("0001 0129 012A")
        first.close()
        await second.connect(1.0)  # at once: nobody has to wait until the port is free
        assert await second.read(1, WORDS, 1.0) == bytes.fromhex("0002 0129 012A")
        second.close()


@pytest.mark.parametrize(
    ("path", "cause"),
    [("/dev/no-such-port", "there is no port /dev/no-such-port: is its adapter plugged in"),
     ("/dev/null", "/dev/null cannot be used")],
)  # fmt: skip
async def test_a_port_that_cannot_be_opened_says_why(path, cause):
    with pytest.raises(Disconnected, match=cause):
        await over_serial(SerialSettings(path, 9_600)).connect(1.0)


async def test_the_line_is_left_in_peace_between_an_answer_and_the_next_question():
    async with Bus(1) as bus:
        transport = over_serial(SerialSettings(bus.path, 9_600), pause_s=0.05)
        await transport.connect(1.0)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for _ in range(4):
            await transport.read(1, WORDS, 1.0)
        assert loop.time() - began_s >= 3 * 0.05
        transport.close()


async def test_silence_between_frames_is_that_of_the_standard():
    # Modbus over Serial Line 1.02, section 2.5.1.1: 3.5 characters of 11 bits, above 19,200 baud
    # a fixed 1.75 ms.
    assert SerialSettings("p", 9_600).gap_s == pytest.approx(3.5 * 11 / 9_600)
    assert SerialSettings("p", 115_200).gap_s == pytest.approx(0.001_75)
    assert str(SerialSettings("p", 9_600, "E", 1)) == "p 9600-8-E-1"


async def test_a_slow_line_has_time_for_a_long_answer_beside_the_time_out():
    class AtItsSpeed(Bus):
        def send(self, data):
            # 1200 baud carries about 109 characters a second; here ten times as many.
            asyncio.get_running_loop().call_later(len(data) * 11 / 12_000, super().send, data)

    async with AtItsSpeed(1) as bus:
        transport = over_serial(SerialSettings(bus.path, 1_200))
        await transport.connect(1.0)
        block = Block(Table.HOLDING, 0, 125, 1_000, ())
        assert len(await transport.read(1, block, 0.05)) == 250
        transport.close()


async def test_only_reading_functions_are_ever_sent():
    signals = tuple(
        RegisterSignal(table.value, table, 0, Kind.BOOL if table.of_bits else Kind.UINT16,
                       period_ms=PERIOD_MS)
        for table in Table
    )  # fmt: skip
    async with Bus(2) as bus:
        bus.silent.add(2)
        machines = [LineMachine(f"m{one}", one, signals, Limits(), TIMEOUT_S) for one in (1, 2)]
        record = Record()
        line = Line(port(bus), machines, now_ms=now_ms, rng=random.Random(3))
        task = asyncio.create_task(line.run(record))
        await record.until(lambda: len(record.samples) > 40 and line.status().timeouts >= 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        heard = bytes(bus.bytes_heard)

    assert len(heard) % 8 == 0
    assert {heard[at + 1] for at in range(0, len(heard), 8)} == {1, 2, 3, 4}
