"""Machines in the directory: their facts, what they can do, and their retirement, move and end."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.responses import Response

from gateway.model import ID_PATTERN
from hub.access import Caller, Group, Level, View
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.directory_models import (
    CapabilitiesIn,
    MachineIn,
    MoveIn,
    capability_fields,
    envelope_fields,
    given,
    machine_fields,
)
from hub.api.directory_refusals import explained, in_words
from hub.api.problems import RefusalError, documented, not_found
from hub.api.sites import Erased
from hub.api.tags import IfMatch, IfNoneMatch, content_tag, require_unchanged
from hub.api.times import maybe_rfc3339
from hub.coordination.directory.directory import Capability, Directory, MachineEntry
from hub.stream import to_json

PATH = "/machines/{site}/{machine}"
SiteId = Annotated[str, Path(max_length=128)]
MachineId = Annotated[str, Path(max_length=400)]
CHANGE = documented(403, 404, 409, 412, 422, 428, 503)
RATES = ("setup_min", "cycle_s")


class Entry(BaseModel):
    """A machine in the directory; null is what nobody said, or what is not shared.

    `edited` holds what a person wrote, and is what a PUT replaces; only its owner sees it.
    `unknown_processes` is what its birth calls processes and the taxonomy does not know.
    """

    site: str
    machine: str
    name: dict[str, str]
    kind: str | None
    maker: str | None
    model: str | None
    capacity_units: int
    rated_power_kw: float | None
    envelope_mm: list[float] | None
    processes: list[str] | None
    unknown_processes: list[str] | None
    announced: bool
    retired: str | None
    edited: dict[str, Any] | None


class Capabilities(BaseModel):
    """What a machine can do; null when that is not shared. `source` says who said it."""

    capabilities: list[dict[str, Any]] | None
    source: str


class Moved(BaseModel):
    """The id that a machine has now. Its former one leads there."""

    site: str
    machine: str


def routes(context: Context) -> APIRouter:
    """Make the routes of the machines' entries."""
    router = APIRouter(tags=["directory"])
    _add_facts(router, context)
    _add_capabilities(router, context)
    _add_retirement(router, context)
    _add_ends(router, context)
    return router


def _add_facts(router: APIRouter, context: Context) -> None:
    directory, changes = context.directory, context.directory_changes

    @router.get(f"{PATH}/entry", response_model=Entry, responses=documented(404, 422))
    def one(site: SiteId, machine: MachineId, view: ViewOf) -> Response:
        """Give what the directory says of a machine."""
        return _answer(body(_shown(directory, (site, machine), view), directory, view))

    @router.put(f"{PATH}/entry", response_model=Entry, responses=CHANGE)
    def put(
        site: SiteId,
        machine: MachineId,
        *,
        told: MachineIn,
        caller: CallerOf,
        view: ViewOf,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Write the facts of a machine, or make one that has no sensor; birth fills the rest."""
        key = (site, machine)
        _require_id_of_new(directory, key)
        check = _unchanged(key, if_match, if_none_match, lambda e, d: body(e, d, view))
        with explained():
            changes.put_machine(told.edit(*key), who=caller.id, check=check)
        return one(site, machine, view)


def _add_capabilities(router: APIRouter, context: Context) -> None:
    directory, changes = context.directory, context.directory_changes

    @router.get(f"{PATH}/capabilities", response_model=Capabilities, responses=documented(404, 422))
    def capabilities(site: SiteId, machine: MachineId, view: ViewOf) -> Response:
        """Give what a machine can do, within which limits."""
        return _answer(capabilities_body(_shown(directory, (site, machine), view), view))

    @router.put(f"{PATH}/capabilities", response_model=Capabilities, responses=CHANGE)
    def put_capabilities(
        site: SiteId,
        machine: MachineId,
        *,
        told: CapabilitiesIn,
        caller: CallerOf,
        view: ViewOf,
        if_match: IfMatch = None,
    ) -> Response:
        """Write what a machine can do; null lets its birth speak again."""
        key = (site, machine)
        listed = in_words(told, directory.taxonomy).capabilities
        fresh = None if listed is None else tuple(each.capability() for each in listed)
        same = _unchanged(key, if_match, None, lambda e, _: capabilities_body(e, view))

        def check(present: Directory) -> None:
            entry = present.machine(*key)
            if entry is None:
                raise not_found("such machine")
            same(present)
            _require_proof(fresh or (), entry, caller)

        with explained():
            changes.put_capabilities(key, fresh, who=caller.id, check=check)
        return capabilities(site, machine, view)


def _add_retirement(router: APIRouter, context: Context) -> None:
    directory, changes = context.directory, context.directory_changes

    def turn(key: tuple[str, str], *, retired: bool, caller: Caller, view: View) -> Response:
        """Retire a machine or take it back; both may be said twice."""
        with explained():
            changes.retire(key, retired=retired, who=caller.id, check=_there(key))
        return _answer(body(_shown(directory, key, view), directory, view))

    @router.post(f"{PATH}/retire", response_model=Entry, responses=documented(403, 404, 422, 503))
    def retire(site: SiteId, machine: MachineId, caller: CallerOf, view: ViewOf) -> Response:
        """Take a machine out of service for good. Its history stays; it is listed no more."""
        return turn((site, machine), retired=True, caller=caller, view=view)

    @router.post(f"{PATH}/return", response_model=Entry, responses=documented(403, 404, 422, 503))
    def take_back(site: SiteId, machine: MachineId, caller: CallerOf, view: ViewOf) -> Response:
        """Take a retired machine back into service."""
        return turn((site, machine), retired=False, caller=caller, view=view)


def _add_ends(router: APIRouter, context: Context) -> None:
    changes = context.directory_changes

    @router.post(
        f"{PATH}/move", response_model=Moved, responses=documented(403, 404, 409, 422, 503)
    )
    def move(
        site: SiteId, machine: MachineId, told: MoveIn, caller: CallerOf, view: ViewOf
    ) -> dict[str, str]:
        """Give a machine another id, maybe at another site of the caller.

        Calendars, jobs and bookings follow, history is read under the new id, and the former id
        answers with 308. Tell its agent the new id too: what comes under the former one is stored
        and belongs to the machine's history, but is not shown live.
        """
        key, to = (site, machine), (told.site, told.machine)
        if not view.own(told.site):
            raise not_found("such site to move to")
        with explained():
            changes.move(key, to, who=caller.id, check=_there(key))
        return {"site": to[0], "machine": to[1]}

    @router.delete(PATH, response_model=Erased, responses=documented(403, 404, 412, 422, 428, 503))
    def erase(
        site: SiteId,
        machine: MachineId,
        caller: CallerOf,
        view: ViewOf,
        if_match: IfMatch = None,
    ) -> dict[str, Any]:
        """Delete everything of a machine, its history above all; `If-Match` names its entry."""
        key = (site, machine)
        same = _unchanged(key, if_match, None, lambda e, d: body(e, d, view))

        def check(present: Directory) -> None:
            _there(key)(present)
            same(present)

        gone = changes.erase(site, machine, who=caller.id, check=check)
        return {"rows": gone.rows, "machines": [name for _, name in gone.machines]}


def body(entry: MachineEntry, directory: Directory, view: View) -> dict[str, Any]:
    """Write a machine's entry as a caller may see it."""
    own = view.own(entry.site)
    edit = directory.edits.machines.get((entry.site, entry.machine))
    powered = own or view.level(entry.site, Group.ENERGY) >= Level.COARSE
    able = _able(entry.site, view)
    return {
        "site": entry.site,
        "machine": entry.machine,
        "name": dict(entry.name),
        "kind": entry.kind or None,
        "maker": entry.maker or None,
        "model": entry.model or None,
        "capacity_units": entry.capacity_units,
        "rated_power_kw": entry.rated_power_kw if powered else None,
        "envelope_mm": envelope_fields(entry.envelope_mm) if able else None,
        "processes": list(entry.processes) if able else None,
        "unknown_processes": list(entry.unknown_processes) if own else None,
        "announced": entry.announced,
        "retired": maybe_rfc3339(entry.retired_ms),
        "edited": given(machine_fields(edit)) if own and edit is not None else None,
    }


def capabilities_body(entry: MachineEntry, view: View) -> dict[str, Any]:
    """Write what a machine can do as a caller may see it: how fast is shared apart."""
    source = "owner" if "capabilities" in entry.edited else "birth"
    if not _able(entry.site, view):
        return {"capabilities": None, "source": source}
    told = [capability_fields(each) for each in entry.capabilities]
    paced = view.own(entry.site) or view.level(entry.site, Group.RATES) >= Level.FULL
    if not paced:
        told = [each | dict.fromkeys(RATES) for each in told]
    return {"capabilities": told, "source": source}


def _able(site: str, view: View) -> bool:
    return view.own(site) or view.level(site, Group.CAPABILITY) >= Level.COARSE


def _shown(directory: Directory, key: tuple[str, str], view: View) -> MachineEntry:
    """Find a machine that the caller may see; a retired one only its owner does.

    Raises:
        RefusalError: there is none.
    """
    entry = directory.machine(*key)
    if entry is None or not view.sees(key[0]) or (entry.retired and not view.own(key[0])):
        raise not_found("such machine")
    return entry


def _there(key: tuple[str, str]) -> Callable[[Directory], None]:
    def check(present: Directory) -> None:
        if present.machine(*key) is None:
            raise not_found("such machine")

    return check


def _unchanged(
    key: tuple[str, str],
    if_match: str | None,
    if_none_match: str | None,
    write: Callable[[MachineEntry, Directory], dict[str, Any]],
) -> Callable[[Directory], None]:
    """Make the check that what is there is what the caller read."""

    def check(present: Directory) -> None:
        entry = present.machine(*key)
        tag = None if entry is None else content_tag(write(entry, present))
        require_unchanged(if_match, if_none_match, tag)

    return check


def _require_id_of_new(directory: Directory, key: tuple[str, str]) -> None:
    """Machines that births announced may have any name; new ones get one that fits a topic."""
    if directory.machine(*key) is None and not ID_PATTERN.fullmatch(key[1]):
        told = {"pointer": "path/machine", "detail": "expected 1 to 48 of a-z, 0-9 and -"}
        raise RefusalError(422, "invalid-request", "The id cannot be.", errors=[told])


def _require_proof(told: tuple[Capability, ...], entry: MachineEntry, caller: Caller) -> None:
    """Let an owner declare, and who runs the hub vouch: proven is not said of oneself."""
    held = {each.process for each in entry.capabilities if each.evidence == "proven"}
    errors = [
        {
            "pointer": f"body/capabilities/{at}/evidence",
            "detail": "only who runs the hub marks a capability as proven",
        }
        for at, each in enumerate(told)
        if each.evidence == "proven" and each.process not in held
    ]
    if errors and not caller.is_hub_admin:
        raise RefusalError(422, "invalid-request", "Proof is not declared.", errors=errors)


def _answer(item: dict[str, Any]) -> Response:
    headers = {"ETag": content_tag(item), "Cache-Control": "no-cache, private"}
    return Response(to_json(item), media_type="application/json", headers=headers)
