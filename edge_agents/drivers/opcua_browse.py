"""Looking around in an OPC UA server: its tree, with node ids as the settings want them.

A tree may be endless or a circle; so depth and number are bounded and no node is visited twice.
Namespaces are written by URI: a number may mean another namespace after the server's next start.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from asyncua import Client, Node, ua
from asyncua.ua.uaerrors import UaError

from edge_agents.drivers.nodes import BrowseError, FoundNode, Reach, Server
from edge_agents.drivers.opcua_security import secure
from gateway.settings import secret

BATCH: Final = 100
CHILDREN_MAX: Final = 1_000
"""Children of one node that are looked at."""
_SERVER_OBJECT: Final = 2253
"""The node in which every server tells of itself (OPC UA part 5, section 6.3.1)."""
_CLASSES: Final[Any] = int(ua.NodeClass.Object) | int(ua.NodeClass.Variable)
"""A mask, which the library's signature takes for one class."""


async def browse(server: Server, reach: Reach) -> AsyncIterator[FoundNode]:
    """Walk through the tree, parents before children.

    Raises:
        BrowseError: the server cannot be reached, or refuses.
    """
    client = Client(server.url, timeout=server.timeout_s, watchdog_intervall=3_600)
    try:
        await _open(client, server)
    except Exception as error:
        # The library lets anything escape that a server's bytes can cause.
        await _close(client)
        cause = f"{type(error).__name__}: {error}".strip(": ").splitlines()[0][:200]
        raise BrowseError(f"{server.url}: {cause}") from error
    try:
        async for found in _Walk(client, await client.get_namespace_array(), reach).nodes():
            yield found
    except (UaError, OSError, TimeoutError) as error:
        raise BrowseError(f"{server.url}: {type(error).__name__}: {error}") from error
    finally:
        await _close(client)


async def _open(client: Client, server: Server) -> None:
    client.application_uri = server.application_uri
    if server.user is not None:
        client.set_user(server.user)
        file = None if server.password_file is None else Path(server.password_file)
        client.set_password(secret(file, "MACHIKOBA_OPCUA_PASSWORD") or "")
    if server.security != "none":
        await secure(client, server)
    await client.connect()


async def _close(client: Client) -> None:
    with contextlib.suppress(UaError, OSError, TimeoutError):
        await client.disconnect()
    client.disconnect_socket()


class _Walk:
    def __init__(self, client: Client, namespaces: Sequence[str], reach: Reach) -> None:
        self._client = client
        self._namespaces = namespaces
        self._reach = reach
        self._seen: set[ua.NodeId] = set()
        self._left = reach.nodes

    async def nodes(self) -> AsyncIterator[FoundNode]:
        under = self._reach.under
        start = self._client.nodes.objects if under is None else self._start(under)
        async for found in self._below(start, (), self._reach.depth):
            yield found

    def _start(self, text: str) -> Node:
        if text.startswith("nsu="):
            uri, _, rest = text.removeprefix("nsu=").partition(";")
            if uri not in self._namespaces:
                raise BrowseError(f"the server has no namespace {uri}")
            text = f"ns={self._namespaces.index(uri)};{rest}"
        return self._client.get_node(ua.NodeId.from_string(text))

    async def _below(
        self, node: Node, path: tuple[str, ...], depth: int
    ) -> AsyncIterator[FoundNode]:
        if depth <= 0:
            return
        children = await node.get_children_descriptions(
            refs=ua.ObjectIds.HierarchicalReferences, nodeclassmask=_CLASSES
        )
        fresh = [child for child in children[:CHILDREN_MAX] if self._is_new(child.NodeId)]
        values = await self._values(
            [one for one in fresh if one.NodeClass == ua.NodeClass.Variable]
        )
        for child in fresh:
            if self._left <= 0:
                return
            self._left -= 1
            name = child.DisplayName.Text or child.BrowseName.Name or "?"
            yield self._found((*path, name), child, values.get(child.NodeId))
            async for deeper in self._below(
                self._client.get_node(child.NodeId), (*path, name), depth - 1
            ):
                yield deeper

    def _is_new(self, node: ua.NodeId) -> bool:
        known = node in self._seen
        self._seen.add(node)
        is_server = node.NamespaceIndex == 0 and node.Identifier == _SERVER_OBJECT
        return not known and (self._reach.server_too or not is_server)

    async def _values(
        self, variables: Sequence[ua.ReferenceDescription]
    ) -> dict[ua.NodeId, ua.DataValue]:
        ids = [one.NodeId for one in variables]
        values: dict[ua.NodeId, ua.DataValue] = {}
        for at in range(0, len(ids), BATCH):
            batch = ids[at : at + BATCH]
            answers = await self._client.uaclient.read_attributes(batch, ua.AttributeIds.Value)
            values.update(zip(batch, answers, strict=True))
        return values

    def _found(
        self, path: tuple[str, ...], child: ua.ReferenceDescription, value: ua.DataValue | None
    ) -> FoundNode:
        node = self._written(child.NodeId)
        if value is None:
            return FoundNode(path, node, variable=False)
        variant = value.Value
        good = value.StatusCode is None or value.StatusCode.is_good()
        if variant is None or not good:
            return FoundNode(path, node, variable=True, readable=False)
        many = "[]" if isinstance(variant.Value, list) else ""
        kind = f"{variant.VariantType.name}{many}"
        plain = isinstance(variant.Value, bool | int | float | str)
        shown = variant.Value if plain else str(variant.Value)
        return FoundNode(path, node, variable=True, type=kind, value=shown)

    def _written(self, node: ua.NodeId) -> str:
        text = str(node.to_string())
        if not text.startswith("ns="):
            return text
        number, _, rest = text.removeprefix("ns=").partition(";")
        return f"nsu={self._namespaces[int(number)]};{rest}"
