"""The thread in which notices are sent: one event loop, apart from the one that answers HTTP."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

log = logging.getLogger(__name__)

AGAIN_S: Final = 5.0
STOP_S: Final = 5.0


class Errands:
    """Runs each errand until told to stop; one that fails begins again and stops no other."""

    def __init__(self, errands: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._errands = errands
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._ready.wait(STOP_S)

    def stop(self) -> None:
        """End; what was being sent is sent again after the next start."""
        if self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        tasks = [
            asyncio.create_task(self._one(name, errand)) for name, errand in self._errands.items()
        ]
        await self._ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, name: str, errand: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await errand()
            except Exception:  # the boundary of this task
                log.exception("%s met something unexpected and begins again", name)
            await asyncio.sleep(AGAIN_S)
