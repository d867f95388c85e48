"""The round that coordination makes every second: counting parts, watching for trouble."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from hub.store import StoreError

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
STOP_S: Final = 10.0


class Watch:
    """One thread that calls each of its duties once per round. One that fails stops no other."""

    def __init__(self, duties: Mapping[str, Callable[[], object]]) -> None:
        self._duties = duties
        self._failing: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin the rounds."""
        self._thread.start()

    def stop(self) -> None:
        """Make a last round, so that nothing in hand is forgotten, and end."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def round(self) -> None:
        """Do every duty once."""
        for name, duty in self._duties.items():
            try:
                duty()
                if name in self._failing:
                    self._failing.discard(name)
                    log.info("%s: works again", name)
            except StoreError as error:
                self._complain(name, error)
            except Exception:  # the boundary of this task
                log.exception("%s met something unexpected and goes on", name)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self.round()
        self.round()

    def _complain(self, name: str, error: StoreError) -> None:
        if name not in self._failing:
            self._failing.add(name)
            log.warning("%s: waits (%s)", name, error)
