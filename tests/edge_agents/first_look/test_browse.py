"""Looking into an OPC UA server gives node ids that the settings take as they are.

Promises: the tree comes with types, values and ids by namespace URI; circles and depth end the
walk; what cannot be read is said; ids found are ids that the agent reads.
"""

import asyncio
import json

import asyncua
import pytest
import pytest_asyncio
from asyncua import ua

from edge_agents import commands

URI = "http://maker.example/UA"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def press():
    server = asyncua.Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace(URI)
    machine = await server.nodes.objects.add_object(ua.NodeId("Press", space), "Press")
    await machine.add_variable(
        ua.NodeId("Press.Count", space), "Count", 4711, ua.VariantType.UInt32
    )
    await machine.add_variable(ua.NodeId("Press.圧力", space), "圧力", 12.5)
    await machine.add_variable(ua.NodeId("Press.Axes", space), "Axes", [1.0, 2.0])
    dark = await machine.add_variable(ua.NodeId("Press.Dark", space), "Dark", 1)
    await dark.write_value(
        ua.DataValue(ua.Variant(1), StatusCode=ua.StatusCode(ua.StatusCodes.BadDeviceFailure))
    )
    inner = await machine.add_object(ua.NodeId("Press.Inner", space), "Inner")
    await inner.add_reference(machine, ua.ObjectIds.Organizes)  # a circle
    async with server:
        yield server.bserver._server.sockets[0].getsockname()[1]


@pytest.fixture
def browsed(press, capsys):
    async def browse(*words):
        line = ["browse", f"opc.tcp://127.0.0.1:{press}", *words]
        code = await asyncio.to_thread(commands.main, line)
        return code, capsys.readouterr()

    return browse


async def test_the_tree_comes_with_ids_by_namespace_uri(browsed):
    code, said = await browsed("--json")

    found = {"/".join(one["path"]): one for one in json.loads(said.out)}
    assert code == 0
    assert found["Press/Count"] == {
        "path": ["Press", "Count"], "node": f"nsu={URI};s=Press.Count", "variable": True,
        "type": "UInt32", "value": 4711, "readable": True,
    }  # fmt: skip
    assert found["Press/圧力"]["value"] == 12.5
    assert found["Press/Axes"]["type"] == "Double[]"
    assert found["Press/Dark"]["readable"] is False
    assert sum(path.startswith("Press") for path in found) == 6


async def test_people_see_an_indented_tree_and_a_line_to_paste(browsed):
    code, said = await browsed()

    assert code == 0
    assert "\n  Count" in said.out
    assert "(not readable)" in said.out
    assert f'count: {{node: "nsu={URI};s=Press.Count"}}' in said.out


async def test_a_search_gives_whole_paths(browsed):
    _, said = await browsed("--search", "count")

    assert [line.split()[0] for line in said.out.splitlines()[1:2]] == ["Press/Count"]


@pytest.mark.parametrize(
    ("more", "paths"), [(["--depth", "1"], {"Press"}), (["--under", f"nsu={URI};s=Press"], None)]
)
async def test_the_walk_begins_and_ends_where_it_is_told(browsed, more, paths):
    _, said = await browsed("--json", *more)

    found = {one["path"][0] for one in json.loads(said.out)}
    assert "Press" in found if paths else "Count" in found
    assert not paths or all(len(one["path"]) == 1 for one in json.loads(said.out))


async def test_a_server_that_is_not_there_is_said(capsys):
    words = ["browse", "opc.tcp://127.0.0.1:1"]

    assert await asyncio.to_thread(commands.main, words) == 1
    assert capsys.readouterr().err.startswith("machikoba agent browse: opc.tcp://127.0.0.1:1: ")


async def test_a_namespace_that_is_not_there_is_said(browsed):
    code, said = await browsed("--under", "nsu=http://other;s=x")

    assert code == 1
    assert "no namespace http://other" in said.err
