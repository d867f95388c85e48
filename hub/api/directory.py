"""The whole directory as one document, out and in."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hub.access import Caller, View
from hub.api.caller import CallerOf, ViewOf
from hub.api.context import Context
from hub.api.directory_file import (
    BYTES_MAX,
    DirectoryFile,
    Mistake,
    MistakesError,
    decode,
    difference,
    edits_of,
    encode,
    written,
)
from hub.api.directory_refusals import explained
from hub.api.problems import RefusalError, documented
from hub.api.tags import IfMatch, content_tag, stale
from hub.coordination.directory.directory import Directory
from hub.store.entries import Edits

__all__ = ["BYTES_MAX", "routes"]

MEDIA_TYPES: Final = ("application/json", "application/yaml", "text/csv")
SHOWN_MAX: Final = 1000
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {name: {"schema": {"type": "string"}} for name in MEDIA_TYPES[1:]}
        | {"application/json": {"schema": {"type": "object"}}},
    }
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The document",
        "content": {name: {"schema": {"type": "string"}} for name in MEDIA_TYPES[1:]}
        | {"application/json": {"schema": {"type": "object"}}},
    }
}


class Change(BaseModel):
    """An entry that is added or changed, with the fields that differ."""

    kind: str
    id: str
    action: str
    fields: list[str]


class Taken(BaseModel):
    """What a document changes, or would; only the first thousand entries are listed."""

    dry_run: bool
    added: int
    changed: int
    unchanged: int
    changes: list[Change]


def routes(context: Context) -> APIRouter:
    """Make the routes of the document."""
    router = APIRouter(tags=["directory"])
    directory, changes = context.directory, context.directory_changes

    @router.get("/directory", response_class=Response, responses={**_ANSWERS, **documented(406)})
    def export(
        view: ViewOf, accept: Annotated[str | None, Header(max_length=500)] = None
    ) -> Response:
        """Give what people wrote of the caller's own sites, as JSON, YAML or a table."""
        media_type = _wanted(accept)
        document = written(directory.edits, _shown_to(view))
        headers = {
            "ETag": content_tag(document),
            "Cache-Control": "no-cache, private",
            "Vary": "Accept",
            "Content-Disposition": f'attachment; filename="directory.{_suffix(media_type)}"',
        }
        return Response(encode(document, media_type), media_type=media_type, headers=headers)

    @router.post(
        "/directory",
        response_model=Taken,
        responses=documented(403, 409, 412, 413, 415, 422, 503),
        openapi_extra=_BODY,
    )
    async def take(
        request: Request,
        caller: CallerOf,
        view: ViewOf,
        *,
        dry_run: Annotated[bool, Query(description="Only tell what would change.")] = False,
        if_match: IfMatch = None,
    ) -> dict[str, Any]:
        """Write every entry that a document names, all or none; the others stay as they are.

        `If-Match` may name the ETag of an export: then nothing else may have changed since.
        """
        media_type = _told(request.headers.get("content-type"))
        raw = await request.body()

        def work() -> dict[str, Any]:
            document = _read(raw, media_type, directory)
            _require_own(document, caller, view)
            seen: list[dict[str, Any]] = []

            def check(present: Directory) -> None:
                if if_match is not None and if_match.strip() != "*":
                    held = content_tag(written(present.edits, _shown_to(view)))
                    if if_match.strip() != held:
                        raise stale()
                fresh = _edits(document, present)
                _require_proof(fresh, present, caller)
                seen.extend(difference(present.edits, fresh))

            edits = _edits(document, directory)
            if dry_run:
                check(directory)
            else:
                with explained():
                    named = _sizes(edits)
                    changes.take(edits, who=caller.id, check=check, summary=named)
            return _summary(edits, seen, dry_run=dry_run)

        return await run_in_threadpool(work)

    return router


def _summary(edits: Edits, seen: list[dict[str, Any]], *, dry_run: bool) -> dict[str, Any]:
    added = sum(each["action"] == "added" for each in seen)
    return {
        "dry_run": dry_run,
        "added": added,
        "changed": len(seen) - added,
        "unchanged": sum(_sizes(edits).values()) - len(seen),
        "changes": seen[:SHOWN_MAX],
    }


def _sizes(edits: Edits) -> dict[str, int]:
    return {name: len(getattr(edits, name)) for name in ("organisations", "sites", "machines")}


def _shown_to(view: View) -> Any:
    return lambda site: view.own(site) if site else view.everything


def _read(raw: bytes, media_type: str, directory: Directory) -> DirectoryFile:
    try:
        return decode(raw, media_type, directory.taxonomy)
    except MistakesError as error:
        raise _refusal(error) from error


def _edits(document: DirectoryFile, present: Directory) -> Edits:
    try:
        return edits_of(document, present)
    except MistakesError as error:
        raise _refusal(error) from error


def _refusal(error: MistakesError) -> RefusalError:
    text = "The document has mistakes; nothing was written."
    return RefusalError(
        422, "invalid-directory", text, errors=[each.written() for each in error.mistakes]
    )


def _require_own(document: DirectoryFile, caller: Caller, view: View) -> None:
    """Let people write of their own sites and organisation only."""
    wrong = [
        Mistake(f"sites/{site}", "is not your site")
        for site in document.sites
        if not view.own(site)
    ]
    wrong += [
        Mistake(f"organisations/{name}", "is not your organisation")
        for name in document.organisations
        if not caller.is_hub_admin and caller.organisation != name
    ]
    if wrong:
        errors = [each.written() for each in wrong[:20]]
        text = "The document writes of what is not yours; nothing was written."
        raise RefusalError(403, "forbidden", text, errors=errors)


def _require_proof(fresh: Edits, present: Directory, caller: Caller) -> None:
    """Let an owner declare only: what is proven is said by who runs the hub."""
    if caller.is_hub_admin:
        return
    for key, edit in fresh.machines.items():
        entry = present.machine(*key)
        held = {c.process for c in entry.capabilities if c.evidence == "proven"} if entry else set()
        for told in edit.capabilities or ():
            if told.evidence == "proven" and told.process not in held:
                text = "only who runs the hub marks a capability as proven"
                at = f"sites/{key[0]}/machines/{key[1]}/capabilities"
                raise _refusal(MistakesError([Mistake(at, text)]))


def _wanted(accept: str | None) -> str:
    """Choose what the caller takes, in the order in which it names them.

    Raises:
        RefusalError: 406 when it takes none of ours.
    """
    for each in (accept or "*/*").split(","):
        name = each.partition(";")[0].strip().lower()
        if name in {"*/*", "application/*"}:
            return MEDIA_TYPES[0]
        if name in MEDIA_TYPES:
            return name
        if name == "text/*":
            return "text/csv"
    raise RefusalError(406, "not-acceptable", f"There is {', '.join(MEDIA_TYPES)}.")


def _told(content_type: str | None) -> str:
    name = (content_type or "").partition(";")[0].strip().lower()
    if name not in MEDIA_TYPES:
        text = f"Send {', '.join(MEDIA_TYPES)}."
        raise RefusalError(415, "unsupported-media-type", text)
    return name


def _suffix(media_type: str) -> str:
    return {"application/json": "json", "application/yaml": "yaml"}.get(media_type, "csv")
