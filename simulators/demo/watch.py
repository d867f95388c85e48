"""Watches the hub's HTTP API as any caller would: which machines are live, and what is missing."""

import asyncio
import http.client
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

TIMEOUT_S: Final = 2.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
PAGES_MAX: Final = 100
HTTP_OK: Final = 200

Key = tuple[str, str]
"""Site id and machine id."""


class NoAnswerError(Exception):
    """The hub does not answer, or not as its interface says."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the hub says of one machine."""

    state: str
    connectivity: str
    name: str
    kind: str

    @property
    def live(self) -> bool:
        """Whether its data arrives and says what it is doing."""
        return self.connectivity == "online" and self.state != "unknown"


async def availability(port: int) -> dict[Key, Seen]:
    """Ask the hub on this computer for all machines.

    Raises:
        NoAnswerError: it does not answer.
    """
    return await asyncio.to_thread(_all_pages, port)


def _all_pages(port: int) -> dict[Key, Seen]:
    found: dict[Key, Seen] = {}
    query = ""
    for _ in range(PAGES_MAX):
        page = _get(port, f"/api/v1/availability{query}")
        try:
            for item in page["items"]:
                found[(item["site"], item["machine"])] = _seen(item)
            cursor = page.get("next")
        except (KeyError, TypeError, AttributeError) as error:
            raise NoAnswerError(f"an unexpected answer: {error!r}") from error
        if not cursor:
            break
        query = "?" + urllib.parse.urlencode({"cursor": cursor})
    return found


def _seen(item: Mapping[str, Any]) -> Seen:
    name = item["name"]
    shown = name.get("en", "") if isinstance(name, dict) else str(name)
    return Seen(item["state"], item["connectivity"], shown, item.get("kind") or "")


def _get(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read(ANSWER_BYTES_MAX)
        if response.status != HTTP_OK:
            raise NoAnswerError(f"status {response.status}")
        page = json.loads(body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswerError(str(error) or repr(error)) from error
    finally:
        connection.close()
    if not isinstance(page, dict):
        raise NoAnswerError("an unexpected answer")
    return page


def missing(wanted: Sequence[Key], seen: Mapping[Key, Seen]) -> dict[Key, str]:
    """Say of each machine that is not live why not."""
    gaps = {}
    for key in wanted:
        one = seen.get(key)
        if one is None:
            gaps[key] = "not known to the hub"
        elif not one.live:
            gaps[key] = f"state {one.state}, connectivity {one.connectivity}"
    return gaps


def table(wanted: Sequence[Key], seen: Mapping[Key, Seen]) -> str:
    """Write what is seen as a table for people."""
    head = ("site", "machine", "name", "state", "connectivity")
    rows = [head]
    for site, machine in wanted:
        one = seen.get((site, machine))
        known = (one.name, one.state, one.connectivity) if one else ("", "?", "never-seen")
        rows.append((site, machine, *known))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    return "\n".join((lines[0], "-" * len(max(lines, key=len)), *lines[1:]))
