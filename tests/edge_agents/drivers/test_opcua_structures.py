"""Fields of structures that only their maker knows, read by the server's own description.

Promises: fields are found by name, nested, in arrays, optional or not; what is not there is bad
and never another value; bytes that do not fit the description raise nothing.
"""

import asyncio
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from asyncua import ua
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agents.drivers.nodes import NodeSignal, Server, ServerMachine
from edge_agents.drivers.opcua import OpcuaServer
from edge_agents.drivers.opcua_structures import Field, Layout, Types, UnknownTypeError, unpack
from gateway.model import Reason
from tests.contract.test_drivers import Record, now_ms

SERVER = Path(__file__).parent / "structure_server.py"
NAMESPACE = "urn:tests:structures"


@contextmanager
def structure_server(junk):
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(junk)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate(timeout=10)


async def test_fields_are_read_by_name_as_the_server_describes_them():
    wanted = {
        "x": ("double", ("X",), (1.5, Reason.NONE)),
        "mode": ("double", ("Mode",), (1, Reason.NONE)),
        "spare": ("double", ("Spare",), (7, Reason.NONE)),
        "error": ("double", ("Error",), (None, Reason.ADDRESS)),
        "load": ("double", ("Axes", 2, "Load"), (2.5, Reason.NONE)),
        "name": ("string", ("Axes", 0, "Name"), ("A0", Reason.NONE)),
        "beyond": ("double", ("Axes", 3, "Load"), (None, Reason.ADDRESS)),
        "whole": ("double", (), (None, Reason.TYPE)),
    }
    signals = tuple(
        NodeSignal(name, f"nsu={NAMESPACE};s=M.pose", datatype, path)
        for name, (datatype, path, _) in wanted.items()
    )
    with structure_server(junk=1) as port:
        machines = (ServerMachine("m-1", signals),)
        server = Server(f"opc.tcp://127.0.0.1:{port}/machine", machines)
        record = Record()
        driver = OpcuaServer(server, now_ms=now_ms, rng=random.Random(1))
        task = asyncio.create_task(driver.run(record))
        await record.until(lambda: len(record.latest) == len(wanted))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    told = {name: (one.value, one.reason) for name, one in record.latest.items()}
    assert told == {name: outcome for name, (_, _, outcome) in wanted.items()}


PLAIN = ua.StructureType.Structure
INNER = Layout(PLAIN, (Field("S", ua.VariantType.String, several=False, optional=False),))
LAYOUTS = st.builds(
    Layout,
    st.sampled_from([PLAIN, ua.StructureType.Union, ua.StructureType.StructureWithOptionalFields]),
    st.lists(
        st.builds(
            Field,
            st.sampled_from("abcdef"),
            st.sampled_from([INNER, *ua.VariantType][:24]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=5,
    ).map(tuple),
)


@given(LAYOUTS, st.binary(max_size=80))
@settings(max_examples=2_000, deadline=None)
def test_no_bytes_raise_anything_whatever_they_should_be(layout, body):
    found = unpack(layout, body)

    assert found is None or set(found) <= {field.name for field in layout.fields}


def test_a_union_has_one_field_or_none():
    fields = tuple(
        Field(name, ua.VariantType.Byte, several=False, optional=False) for name in ("a", "b")
    )
    layout = Layout(ua.StructureType.Union, fields)

    assert unpack(layout, b"\x02\0\0\0\x07") == {"b": 7}
    assert unpack(layout, b"\0\0\0\0") == {}


async def test_a_type_that_contains_itself_or_is_not_described_is_refused():
    number = ua.NodeId(7, 2)
    again = ua.StructureDefinition(
        Fields=[ua.StructureField(Name="Again", DataType=number, ValueRank=-1)]
    )

    async def asked(_node, _attribute):
        return again

    async def nothing(*_):
        return None

    async def structure(_node):
        return ua.NodeId(ua.ObjectIds.Structure)

    for ask, parent in ((asked, structure), (nothing, nothing), (asked, nothing)):
        with pytest.raises(UnknownTypeError):
            await Types(ask, parent).learn(number)
