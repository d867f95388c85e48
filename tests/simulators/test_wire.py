"""A wire carries bytes both ways unchanged, unless its switch says otherwise."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from simulators.faults import Fault, FaultKind, Switch, Wire
from tests.simulators.conftest import until


@asynccontextmanager
async def wired(clock):
    """Put a wire in front of a server that echoes."""
    switch = Switch(clock)
    wire = Wire(switch, random.Random(1))

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    wire.lead_to(*server.sockets[0].getsockname())
    await wire.open()
    try:
        yield wire, switch
    finally:
        await wire.close()
        server.close()


@asynccontextmanager
async def calling(wire):
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def says(reader, size):
    return await asyncio.wait_for(reader.readexactly(size), 5)


async def test_bytes_come_through_unchanged(clock):
    async with wired(clock) as (wire, _), calling(wire) as (reader, writer):
        message = random.Random(2).randbytes(200_000)
        writer.write(message)

        assert await says(reader, len(message)) == message


async def test_silence_holds_bytes_back_and_loses_none(clock):
    async with wired(clock) as (wire, switch), calling(wire) as (reader, writer):
        switch.set(Fault(FaultKind.SILENT, for_ms=1_000))
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        clock.now_ms += 1_000

        assert await says(reader, 5) == b"hello"


async def test_garbage_has_the_size_of_the_answer_and_nothing_else_of_it(clock):
    async with wired(clock) as (wire, switch), calling(wire) as (reader, writer):
        switch.set(Fault(FaultKind.GARBAGE))
        writer.write(b"hello world, how are you?")

        assert await says(reader, 25) != b"hello world, how are you?"


async def test_a_closed_wire_drops_connections_and_opens_on_the_same_port(clock):
    async with wired(clock) as (wire, _), calling(wire) as (reader, _):
        port = wire.port
        await wire.close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await says(reader, 1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

        await wire.open()
        async with calling(wire) as (again, writer):
            writer.write(b"hi")
            assert await says(again, 2) == b"hi"
        assert wire.port == port


async def test_a_wire_to_nowhere_hangs_up(clock):
    async with wired(clock) as (wire, _):
        wire.lead_to("127.0.0.1", 1)
        async with calling(wire) as (reader, _):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await says(reader, 1)


async def test_when_one_end_hangs_up_so_does_the_other(clock):
    hung_up = asyncio.Event()

    async def watch(reader, _writer):
        await reader.read()
        hung_up.set()
        _writer.close()

    server = await asyncio.start_server(watch, "127.0.0.1", 0)
    wire = Wire(Switch(clock), random.Random(1))
    wire.lead_to(*server.sockets[0].getsockname())
    await wire.open()
    async with calling(wire):
        pass
    await asyncio.wait_for(hung_up.wait(), 5)
    await wire.close()
    server.close()


async def test_a_switch_forgets_a_fault_when_its_time_is_over(clock):
    switch = Switch(clock)
    switch.set(Fault(FaultKind.FROZEN, for_ms=10))
    assert switch.has(FaultKind.FROZEN)
    clock.now_ms += 10

    assert switch.fault is None
    await until(lambda: not switch.has(FaultKind.FROZEN))
