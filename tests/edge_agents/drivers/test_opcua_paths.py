"""Names lead to one node or to none.

Promises: a path is followed by names whatever the ids; `*` stands for an only child; what is not
there, or there twice, is not found; a slash in a name is written with an ampersand before it.
"""

import asyncua

from edge_agents.drivers.opcua_paths import follow, steps
from tests.edge_agents.profiles.dumps import opcua_device

TREE = {
    "Machines": {
        "Press 7/8": {"Count": {"type": "UInt32", "value": 7}},
        "Lathe": {
            "Count": {"type": "UInt32", "value": 8},
            "Speed": {"type": "Double", "value": 1.5},
        },
    },
}


async def test_names_lead_to_one_node_or_to_none():
    wanted = {
        "path=Machines/Lathe/Count": 8,
        "path=Machines/Press 7&/8/Count": 7,
        "path=Machines/*/Speed": 1.5,
        "path=Machines/*/Count": None,
        "path=Machines/Mill/Count": None,
        "path=Nowhere": None,
    }
    async with (
        opcua_device({"namespace": "http://maker.example", "tree": TREE}) as port,
        asyncua.Client(f"opc.tcp://127.0.0.1:{port}/") as client,
    ):
        found = await follow(client, wanted)
        values = {path: await client.get_node(node).read_value() for path, node in found.items()}

    assert {path: values.get(path) for path in wanted} == wanted


def test_a_slash_in_a_name_is_no_step():
    assert steps("path=Machines/Press 7&/8/Count") == ["Machines", "Press 7/8", "Count"]
    assert len(steps("path=" + "x/" * 1000)) == 16
