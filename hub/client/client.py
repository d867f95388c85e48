"""The hub as other programs ask it: typed, with time-outs, repeated safely, errors as exceptions.

A change that must happen once is sent so that it does: see `MachikobaClient`.
"""

import http.client
import json
import os
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import quote, urlencode, urlsplit

from hub.client.words import (
    Availability,
    CancelRequest,
    Capacity,
    ExtendRequest,
    HoldRequest,
    Reservation,
    Reservations,
    SearchRequest,
    SearchResult,
)

URL_VARIABLE: Final = "MACHIKOBA_HUB_URL"
KEY_VARIABLE: Final = "MACHIKOBA_HUB_KEY"
KEY_FILE_VARIABLE: Final = "MACHIKOBA_HUB_KEY_FILE"
URL: Final = "http://127.0.0.1:8080"
TIMEOUT_S: Final = 10.0
TRIES: Final = 4
PAUSE_S: Final = 0.25
PAUSE_S_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
AGAIN: Final = frozenset({429, 502, 503, 504})
"""The hub, or a proxy before it, asks to be asked again."""


# -- what goes wrong -----------------------------------------------------------------------------


class ClientError(Exception):
    """Asking the hub did not work."""


class UnreachableError(ClientError):
    """The hub does not answer, or not in HTTP as it should."""


class ProblemError(ClientError):
    """The hub refuses, with a problem document (RFC 9457); `code` is stable."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail", ""))
        self.errors: list[dict[str, str]] = list(problem.get("errors") or ())
        super().__init__(f"{status} {self.code}: {self.detail}")

    @property
    def conflicts(self) -> list[dict[str, Any]]:
        """When capacity is short, of a refusal of code ``capacity-conflict``."""
        return list(self.problem.get("conflicts") or ())

    @property
    def alternatives(self) -> list[dict[str, Any]]:
        """What could be held instead: each has `steps` for a new request."""
        return list(self.problem.get("alternatives") or ())


# -- asking ----------------------------------------------------------------------------------------

Method = Literal["GET", "POST"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the hub that this client uses."""

    method: Method
    path: str
    answer: type
    query: tuple[str, ...] = ()
    body: type | None = None


OPERATIONS: Final[Mapping[str, Operation]] = {
    "availability": Operation(
        "GET",
        "/api/v1/availability",
        Availability,
        query=(
            "site",
            "process",
            "state",
            "near",
            "radius_km",
            "updated_since",
            "limit",
            "cursor",
        ),
    ),
    "capacity": Operation(
        "GET",
        "/api/v1/machines/{site}/{machine}/capacity",
        Capacity,
        query=("from", "to", "bucket"),
    ),
    "search": Operation("POST", "/api/v1/capacity/search", SearchResult, body=SearchRequest),
    "hold": Operation("POST", "/api/v1/reservations", Reservation, body=HoldRequest),
    "reservations": Operation(
        "GET",
        "/api/v1/reservations",
        Reservations,
        query=("site", "machine", "status", "mine", "limit", "cursor"),
    ),
    "reservation": Operation("GET", "/api/v1/reservations/{reservation}", Reservation),
    "confirm": Operation("POST", "/api/v1/reservations/{reservation}/confirm", Reservation),
    "extend": Operation(
        "POST", "/api/v1/reservations/{reservation}/extend", Reservation, body=ExtendRequest
    ),
    "release": Operation("POST", "/api/v1/reservations/{reservation}/release", Reservation),
    "cancel": Operation(
        "POST", "/api/v1/reservations/{reservation}/cancel", Reservation, body=CancelRequest
    ),
}
"""Everything that this client asks, by the name of the method."""

LEADS_TO: Final = {"confirm": "confirmed", "release": "released", "cancel": "cancelled"}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: Any


@dataclass
class MachikobaClient:
    """Asks one hub. Each call is a connection of its own, so any thread may use it.

    Questions and holds are repeated when no answer comes or the hub says later: a hold has an
    idempotency key, so it happens once however often it is sent. A change under an ETag whose
    answer got lost is looked up before it is sent again.
    """

    url: str = URL
    key: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S
    tries: int = TRIES
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            ValueError: it is no http or https URL.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{self.url!r} is no address of a hub: expected http(s)://host[:port]")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, url: str | None = None
    ) -> "MachikobaClient":
        """Make a client by MACHIKOBA_HUB_URL, and MACHIKOBA_HUB_KEY or …_KEY_FILE.

        Raises:
            ValueError: the address is none.
            OSError: the file with the key cannot be read.
        """
        told = os.environ if environment is None else environment
        key = told.get(KEY_VARIABLE)
        if key is None and KEY_FILE_VARIABLE in told:
            key = Path(told[KEY_FILE_VARIABLE]).read_text("utf-8").strip()
        return cls(url or told.get(URL_VARIABLE) or URL, key or None)

    # -- live state and capacity ---------------------------------------------------------------

    def availability(self, **query: str | float | None) -> Availability:
        """Tell what machines do now and which are free; filters as the operation names them."""
        return cast("Availability", self._ask("availability", query=query).content)

    def capacity(
        self,
        site: str,
        machine: str,
        *,
        from_: str | None = None,
        to: str | None = None,
        bucket: str | None = None,
    ) -> Capacity:
        """Tell how many hours of a machine are free, held and reserved, bucket by bucket."""
        query = {"from": from_, "to": to, "bucket": bucket}
        found = self._ask("capacity", {"site": site, "machine": machine}, query=query)
        return cast("Capacity", found.content)

    def search(self, request: SearchRequest) -> SearchResult:
        """Ask who can make this, when and where. Nothing is reserved."""
        return cast("SearchResult", self._ask("search", body=request).content)

    # -- reservations ----------------------------------------------------------------------------

    def hold(self, request: HoldRequest, idempotency_key: str | None = None) -> Reservation:
        """Hold capacity, all steps or nothing. A key of one's own makes it safe across restarts."""
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(24)}
        return cast("Reservation", self._ask("hold", body=request, headers=headers).content)

    def reservations(self, **query: str | float | None) -> Reservations:
        """Give reservations in which the caller has a part, the newest first."""
        return cast("Reservations", self._ask("reservations", query=query).content)

    def reservation(self, reservation: str) -> Reservation:
        """Give one reservation."""
        return cast("Reservation", self._one(reservation).content)

    def confirm(self, reservation: str, etag: str | None = None) -> Reservation:
        """Make a hold a booking; as it is now, or as it was read under an ETag."""
        return self._change("confirm", reservation, etag)

    def extend(self, reservation: str, ttl_s: int, etag: str | None = None) -> Reservation:
        """Let a hold last so many seconds from now."""
        return self._change("extend", reservation, etag, {"ttl_s": ttl_s})

    def release(self, reservation: str, etag: str | None = None) -> Reservation:
        """Give back what was held or confirmed."""
        return self._change("release", reservation, etag)

    def cancel(
        self, reservation: str, reason: str | None = None, etag: str | None = None
    ) -> Reservation:
        """Call off what is booked at one's own site."""
        return self._change("cancel", reservation, etag, {"reason": reason})

    # -- inside ------------------------------------------------------------------------------------

    def _one(self, reservation: str) -> _Answer:
        return self._ask("reservation", {"reservation": reservation})

    def _change(
        self, name: str, reservation: str, etag: str | None, body: Mapping[str, Any] | None = None
    ) -> Reservation:
        """Change a reservation under an ETag; when the answer gets lost, look before repeating."""
        tag = etag or self._one(reservation).headers.get("etag", "")
        for left in reversed(range(self.tries)):
            try:
                return cast("Reservation", self._change_once(name, reservation, tag, body).content)
            except UnreachableError:
                if not left:
                    raise
            found = self._one(reservation)
            if found.content["status"] == LEADS_TO.get(name):
                return cast("Reservation", found.content)
        raise AssertionError("the last try returns or raises")

    def _change_once(
        self, name: str, reservation: str, tag: str, body: Mapping[str, Any] | None
    ) -> _Answer:
        headers = {"If-Match": tag}
        place = {"reservation": reservation}
        return self._ask(name, place, body=body, headers=headers, tries=1)

    def _ask(
        self,
        name: str,
        place: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str | float | None] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        tries: int | None = None,
    ) -> _Answer:
        """Send an operation until it is answered, or as often as is reasonable."""
        operation = OPERATIONS[name]
        unknown = set(query or ()) - set(operation.query)
        if unknown:
            raise TypeError(f"{name} knows no {', '.join(sorted(unknown))}")
        path = operation.path.format(**{k: quote(v, safe="") for k, v in (place or {}).items()})
        told = {k: _written(v) for k, v in (query or {}).items() if v is not None}
        if told:
            path = f"{path}?{urlencode(told)}"
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        for at in range(tries or self.tries):
            last = at + 1 == (tries or self.tries)
            try:
                answer = self._send(operation.method, path, content, headers or {})
            except UnreachableError:
                if last:
                    raise
                self.sleep(_pause_s(at))
                continue
            if answer.status not in AGAIN or last:
                return _accepted(answer)
            self.sleep(_pause_s(at, answer.headers.get("retry-after")))
        raise AssertionError("the last try returns or raises")

    def _send(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> _Answer:
        parts = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout_s)
        sent = {"Accept": "application/json", "User-Agent": "machikoba-client/1", **headers}
        if content is not None:
            sent["Content-Type"] = "application/json"
        if self.key:
            sent["Authorization"] = f"Bearer {self.key}"
        try:
            connection.request(method, parts.path.rstrip("/") + path, content, sent)
            received = connection.getresponse()
            raw = received.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self.url} does not answer ({error!r})") from error
        finally:
            connection.close()
        told = {name.lower(): value for name, value in received.getheaders()}
        try:
            return _Answer(received.status, told, json.loads(raw))
        except ValueError as error:
            text = f"{self.url} answered {received.status}, and not in JSON. Is it a hub?"
            raise UnreachableError(text) from error


def _accepted(answer: _Answer) -> _Answer:
    if answer.status < 300:  # noqa: PLR2004 (2xx)
        return answer
    problem = answer.content if isinstance(answer.content, dict) else {}
    raise ProblemError(answer.status, problem)


def _pause_s(at: int, retry_after: str | None = None) -> float:
    """Wait as long as the hub says, else longer each time, never all callers at once."""
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), PAUSE_S_MAX)
    longest: float = min(PAUSE_S * (1 << at), PAUSE_S_MAX)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 (jitter)


def _written(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
