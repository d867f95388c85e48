"""The words for processes and materials, as other programs need them to write capabilities."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

from hub.api.availability import names_tag
from hub.api.context import Context
from hub.api.problems import documented
from hub.api.tags import content_tag
from hub.coordination.directory.taxonomy import Term, Tree
from hub.stream import to_json


class TermOut(BaseModel):
    """One word of a taxonomy. `also` names what whoever offers this can do besides."""

    slug: str
    parent: str | None
    name: dict[str, str]
    din: str | None = None
    also: list[str] = []
    synonyms: list[str] = []


class Terms(BaseModel):
    """A taxonomy as a list, parents before their children."""

    items: list[TermOut]


def routes(context: Context) -> APIRouter:
    """Make the routes of the taxonomies."""
    router = APIRouter(tags=["directory"])
    taxonomy = context.directory.taxonomy
    unchanged = documented(422, also={304: {"description": "Nothing changed"}})

    def add(path: str, tree: Tree, what: str) -> None:
        content = {"items": [_term(term) for term in tree.terms]}
        body, tag = to_json(content), content_tag(content)

        @router.get(path, response_model=Terms, responses=unchanged, summary=what)
        async def terms(
            request: Request, if_none_match: Annotated[str | None, Header()] = None
        ) -> Response:
            del if_none_match  # Documents the header; it may come more than once.
            headers = {"ETag": tag, "Cache-Control": "no-cache"}
            if names_tag(request.headers.getlist("if-none-match"), tag):
                return Response(status_code=304, headers=headers)
            return Response(body, media_type="application/json", headers=headers)

    add("/processes", taxonomy.processes, "Give the taxonomy of processes.")
    add("/materials", taxonomy.materials, "Give the taxonomy of materials.")
    return router


def _term(term: Term) -> dict[str, Any]:
    return {
        "slug": term.slug,
        "parent": term.parent,
        "name": {"ja": term.ja, "en": term.en},
        "din": term.din,
        "also": list(term.also),
        "synonyms": list(term.synonyms),
    }
