"""What let a caller in, to be asked again by connections that last."""

import asyncio
from typing import Final

from starlette.concurrency import run_in_threadpool

from hub.access import Access, Caller, Credential, View

LOOK_EVERY_S: Final = 2.0


class Admission:
    """A caller who was let in with what it showed then, and what it could see then."""

    __slots__ = ("_access", "_caller", "_shown", "is_over", "view")

    def __init__(
        self, access: Access, shown: Credential | None, caller: Caller, view: View
    ) -> None:
        self._access = access
        self._shown = shown
        self._caller = caller
        self.view = view
        self.is_over = False

    async def ended(self) -> None:
        """Wait until the caller would no longer be let in, or would see something else."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not await self._still_holds():
                self.is_over = True
                return

    async def _still_holds(self) -> bool:
        if self._caller.kind == "local":
            return True
        caller: Caller | None = self._caller
        if self._shown is not None and caller is not None and caller.known:
            # Looking is no use of a session: a page left open must not keep it alive.
            caller = self._access.recognition.known(self._shown, use=False)
            if caller is None:
                find = self._access.recognition.find
                caller = await run_in_threadpool(find, self._shown, use=False)
        if caller != self._caller or caller is None:
            return False
        return self._access.view(caller).fingerprint == self.view.fingerprint
