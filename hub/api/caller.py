"""The caller and its view, as routes ask for them: ``caller: CallerOf, view: ViewOf``."""

from typing import Annotated

from fastapi import Depends, Request

from hub.access import Caller, View


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _view(request: Request) -> View:
    view: View = request.state.view
    return view


CallerOf = Annotated[Caller, Depends(_caller)]
"""Who asks; `hub.api.gate` has found out."""

ViewOf = Annotated[View, Depends(_view)]
"""What the caller may see."""
