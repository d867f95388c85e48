"""Organisations: who runs the sites."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.responses import Response

from hub.access import Caller, View
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.directory_models import Id, OrganisationIn, organisation_fields
from hub.api.directory_refusals import explained
from hub.api.problems import RefusalError, documented, not_found
from hub.api.tags import IfMatch, IfNoneMatch, content_tag, require_unchanged
from hub.coordination.directory.directory import Directory, Organisation
from hub.stream import to_json

OrganisationId = Annotated[Id, Path()]


class OrganisationOut(BaseModel):
    """An organisation with the sites of it that the caller sees."""

    organisation: str
    name: dict[str, str]
    kind: str
    corporate_number: str | None
    contact: str | None
    sites: list[str]


class Organisations(BaseModel):
    """Organisations, by id."""

    items: list[OrganisationOut]


def routes(context: Context) -> APIRouter:
    """Make the routes of organisations."""
    router = APIRouter(tags=["directory"])
    directory, changes = context.directory, context.directory_changes

    @router.get("/organisations", response_model=Organisations)
    def organisations(caller: CallerOf, view: ViewOf) -> dict[str, Any]:
        """Give the organisations with sites that the caller sees, and its own."""
        found = [body(told, directory, view) for told in directory.organisations()]
        return {"items": [item for item in found if _seen(item, caller, view)]}

    @router.get(
        "/organisations/{organisation}",
        response_model=OrganisationOut,
        responses=documented(404, 422),
    )
    def one(organisation: OrganisationId, caller: CallerOf, view: ViewOf) -> Response:
        """Give one organisation."""
        told = directory.organisation(organisation)
        item = None if told is None else body(told, directory, view)
        if item is None or not _seen(item, caller, view):
            raise not_found("such organisation")
        return _answer(item)

    @router.put(
        "/organisations/{organisation}",
        response_model=OrganisationOut,
        responses=documented(403, 409, 412, 422, 428, 503),
    )
    def put(
        organisation: OrganisationId,
        *,
        told: OrganisationIn,
        caller: CallerOf,
        view: ViewOf,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Write an organisation; its own site admins may, and who runs the hub."""
        _require_own(organisation, caller)
        fresh = told.organisation(organisation)

        def check(present: Directory) -> None:
            held = present.organisation(organisation)
            tag = None if held is None else content_tag(body(held, present, view))
            require_unchanged(if_match, if_none_match, tag)

        with explained():
            changes.put_organisation(fresh, who=caller.id, check=check)
        return _answer(body(fresh, directory, view))

    @router.delete(
        "/organisations/{organisation}",
        status_code=204,
        responses=documented(403, 404, 409, 412, 422, 428, 503),
    )
    def delete(
        organisation: OrganisationId, caller: CallerOf, view: ViewOf, if_match: IfMatch = None
    ) -> None:
        """Delete an organisation to which no site belongs."""
        _require_own(organisation, caller)

        def check(present: Directory) -> None:
            held = present.organisation(organisation)
            if held is None:
                raise not_found("such organisation")
            require_unchanged(if_match, None, content_tag(body(held, present, view)))

        with explained():
            changes.delete_organisation(organisation, who=caller.id, check=check)

    return router


def body(told: Organisation, directory: Directory, view: View) -> dict[str, Any]:
    """Write an organisation as a caller may see it."""
    mine = [site.site for site in directory.sites() if site.organisation == told.organisation]
    return {
        "organisation": told.organisation,
        **organisation_fields(told),
        "sites": [site for site in mine if view.sees(site)],
    }


def _seen(item: dict[str, Any], caller: Caller, view: View) -> bool:
    return view.everything or bool(item["sites"]) or caller.organisation == item["organisation"]


def _require_own(organisation: str, caller: Caller) -> None:
    if not caller.is_hub_admin and caller.organisation != organisation:
        raise RefusalError(403, "forbidden", "This is not your organisation.")


def _answer(item: dict[str, Any]) -> Response:
    headers = {"ETag": content_tag(item), "Cache-Control": "no-cache, private"}
    return Response(to_json(item), media_type="application/json", headers=headers)
