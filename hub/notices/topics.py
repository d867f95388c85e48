"""Events as JSON on the hub's own broker, for programs that speak MQTT and nothing else.

A live feed and no archive: it begins with what happens after the hub's start. While the broker is
away it waits, and goes on where it was. Who missed something asks the events over HTTP.
"""

from collections.abc import Callable
from typing import Final

import orjson

from gateway.sparkplug import quote_level
from hub.access import View
from hub.coordination.events import Event, Events, ForgottenError, as_cloud_event, may_see

PREFIX: Final = "machikoba/v1"
NO_MACHINE: Final = "_"
"""Stands where the machine would, in topics of events that are about a whole site."""
LOOK_EVERY_S: Final = 1.0
BATCH: Final = 200

Publish = Callable[[str, bytes], bool]


class Topics:
    """Publishes what one audience may see. Belongs to one event loop."""

    def __init__(
        self,
        events: Events,
        *,
        publish: Publish,
        view: Callable[[], View],
        source: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._events = events
        self._publish = publish
        self._view = view
        self._source = source
        self._now_ms = now_ms
        self._place = events.newest

    async def run(self) -> None:
        """Publish until cancelled."""
        with self._events.following() as follower:
            while True:
                self.tell()
                await follower.news(LOOK_EVERY_S)

    def tell(self) -> None:
        """Publish what is new, as far as the broker takes it."""
        try:
            found = self._events.after(self._place, limit=BATCH)
        except ForgottenError as error:
            self._place = max(0, min(error.oldest - 1, error.newest))
            return
        view = self._view()
        for event in found:
            if event.site and may_see(view, event, self._now_ms()):
                body = orjson.dumps(as_cloud_event(event, self._source))
                if not self._publish(topic_of(event), body):
                    return
            self._place = event.seq


def topic_of(event: Event) -> str:
    """Name the topic of an event: ``machikoba/v1/<site>/<machine>/event/<type>``."""
    machine = quote_level(event.machine) if event.machine else NO_MACHINE
    return f"{PREFIX}/{quote_level(event.site)}/{machine}/event/{event.type}"
