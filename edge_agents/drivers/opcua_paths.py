"""Nodes found by their names from the folder Objects on: ``path=Machines/*/Production/Name``.

Companion models fix the names of a machine's parts and leave its node ids to the maker, so names
are what settings for any maker's machine can rely on. Namespaces are not compared. ``*`` stands
for any one child; a path that leads to no node, or to more than one, finds none. A slash within a
name is written ``&/`` (OPC UA part 4, annex A.2).
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from asyncua import Client, ua

PREFIX: Final = "path="
ANY: Final = "*"
STEPS_MAX: Final = 16
CHILDREN_MAX: Final = 1_000
_SLASH: Final = re.compile(r"(?<!&)/")
_CLASSES: Final[Any] = int(ua.NodeClass.Object) | int(ua.NodeClass.Variable)
"""A mask, which the library's signature takes for one class."""

Children = dict[ua.NodeId, list[tuple[str, ua.NodeId]]]


async def follow(client: Client, paths: Iterable[str]) -> dict[str, ua.NodeId]:
    """Find the node of each path; one that leads nowhere, or to several nodes, is left out.

    Each node on the way is asked for its children once. Raises what asyncua raises.
    """
    seen: Children = {}
    found: dict[str, ua.NodeId] = {}
    for path in dict.fromkeys(paths):
        ends = [client.nodes.objects.nodeid]
        for name in steps(path):
            ends = [end for node in ends for end in await _named(client, node, name, seen)]
        if len(ends) == 1:
            found[path] = ends[0]
    return found


def steps(path: str) -> list[str]:
    """Split a path into names."""
    names = _SLASH.split(path.removeprefix(PREFIX).strip("/"))
    return [name.replace("&/", "/") for name in names[:STEPS_MAX]]


async def _named(client: Client, node: ua.NodeId, name: str, seen: Children) -> list[ua.NodeId]:
    if node not in seen:
        told = await client.get_node(node).get_children_descriptions(
            refs=ua.ObjectIds.HierarchicalReferences, nodeclassmask=_CLASSES
        )
        seen[node] = [(str(one.BrowseName.Name), one.NodeId) for one in told[:CHILDREN_MAX]]
    return list(dict.fromkeys(child for called, child in seen[node] if name in {called, ANY}))
