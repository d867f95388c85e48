"""Machines that have another id by now: their former one leads there (308)."""

from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import APIRoute

from hub.api.caller import ViewOf
from hub.api.context import Context
from hub.api.problems import RefusalError, documented


def include(app: FastAPI, router: APIRouter, context: Context) -> None:
    """Add the routes of the API; those of a machine lead on from its former ids."""
    for route in router.routes:
        if isinstance(route, APIRoute) and "{machine}" in route.path:
            route.responses = documented(308) | route.responses
    app.include_router(router, prefix="/api/v1", dependencies=[Depends(Follow(context))])


class Follow:
    """What every route of a machine asks first."""

    def __init__(self, context: Context) -> None:
        self._directory = context.directory

    async def __call__(self, request: Request, view: ViewOf) -> None:
        """Lead to the present id, if this is a former one and the caller sees the machine.

        Raises:
            RefusalError: 308 with ``Location`` and ``moved_to``.
        """
        told = request.path_params
        if "site" not in told or "machine" not in told:
            return
        key = (str(told["site"]), str(told["machine"]))
        to = self._directory.moved_to(*key)
        if to is None or not view.sees(to[0]):
            return
        before, _, rest = request.url.path.partition("/machines/")
        further = rest.split("/", 2)[2:]
        place = "/".join([f"{before}/machines", *(quote(part, safe="") for part in to)])
        if further:
            place += f"/{quote(further[0])}"
        query = f"?{request.url.query}" if request.url.query else ""
        text = f"This machine is {to[0]}/{to[1]} now."
        raise RefusalError(
            308,
            "moved",
            text,
            {"Location": place + query},
            errors=[{"pointer": "path/machine", "detail": text, "moved_to": "/".join(to)}],
        )
