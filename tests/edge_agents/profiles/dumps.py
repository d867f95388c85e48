"""Devices as they would answer: a Modbus TCP or OPC UA server made of a profile's dump.

The Modbus server is written from the specification (MBAP, function codes 1 to 4) and shares no
code with the driver, so that a mistake in an order of words does not cancel itself out.
"""

import asyncio
import contextlib
import struct
from contextlib import asynccontextmanager
from pathlib import Path

import asyncua
import yaml

FOLDER = Path(__file__).parent
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}


def dump(slug):
    return yaml.safe_load((FOLDER / f"{slug}.yaml").read_text(encoding="utf-8"))


def memory(registers):
    """Lay the words of a dump out by table and address."""
    return {
        table: {
            first + at: int(word, 16)
            for first, words in blocks.items()
            for at, word in enumerate(words.split())
        }
        for table, blocks in registers.items()
    }


@asynccontextmanager
async def modbus_device(registers):
    """Serve registers; a table that the dump does not have is an illegal function."""
    held = memory(registers)

    async def converse(reader, writer):
        while True:
            head = await reader.readexactly(7)
            transaction, _, length, unit = struct.unpack(">HHHB", head)
            pdu = answer(held, await reader.readexactly(length - 1))
            writer.write(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)
            await writer.drain()

    async with serving(converse) as port:
        yield port


@asynccontextmanager
async def serving(converse):
    """Listen on a free port; every conversation has ended when the context ends."""
    under_way = {}

    async def until_hung_up(reader, writer):
        under_way[asyncio.current_task()] = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await converse(reader, writer)
        writer.close()

    server = await asyncio.start_server(until_hung_up, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in under_way.values():
            writer.close()
        if under_way:
            await asyncio.wait(under_way, timeout=5)


def answer(held, request):
    """Answer as the specification says; an address that the dump does not have holds 0."""
    table = held.get(TABLES.get(request[0], ""))
    if table is None:
        return bytes((request[0] | 0x80, 1))
    function, first, count = struct.unpack(">BHH", request)
    words = [table.get(first + at, 0) for at in range(count)]
    if function in (3, 4):
        return struct.pack(f">BB{count}H", function, 2 * count, *words)
    packed = sum(bit << at for at, bit in enumerate(words)).to_bytes((count + 7) // 8, "little")
    return bytes((function, len(packed))) + packed


@asynccontextmanager
async def opcua_device(nodes):
    """Serve string nodes in the dump's namespace, or a tree of names whose ids mean nothing."""
    server = asyncua.Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    server.set_security_policy([asyncua.ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace(nodes["namespace"])
    for name, told in nodes.get("values", {}).items():
        node = asyncua.ua.NodeId(name, space)
        await server.nodes.objects.add_variable(node, name, _variant(told))
    await _grow(server.nodes.objects, space, nodes.get("tree", {}))
    async with server:
        yield server.bserver._server.sockets[0].getsockname()[1]


async def _grow(parent, space, tree):
    for name, told in tree.items():
        if "value" in told:
            await parent.add_variable(space, name, _variant(told))
        else:
            await _grow(await parent.add_object(space, name), space, told)


def _variant(told):
    kind = getattr(asyncua.ua.VariantType, told["type"])
    value = told["value"]
    if told["type"] == "LocalizedText":
        value = asyncua.ua.LocalizedText(value, "en")
    return asyncua.ua.Variant(value, kind)
