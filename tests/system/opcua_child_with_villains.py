"""The child that reads OPC UA, in which two servers are played by stand-ins that do harm.

What they do stands for what bytes of a server were seen to do to a library: never come back, or
take all the memory there is.
"""

import asyncio

from edge_agents.drivers.driver import Delivery, DriverStatus
from edge_agents.drivers.opcua_child import main, make_opcua
from gateway.model import Sample


class Villain:
    """Answers some times, and then does harm."""

    def __init__(self, server, clock):
        self._server = server
        self._clock = clock
        self._eaten = []

    async def run(self, deliver):
        for number in range(20):
            at_ms = self._clock.now_ms()
            sample = Sample("a", float(number), at_ms)
            machine = self._server.machines[0].machine
            deliver(Delivery(machine, at_ms, (sample,), link=True))
            await asyncio.sleep(0.1)
        while "eat" in self._server.url:
            self._eaten.append(b"x" * (1 << 20))
        while True:
            pass

    def status(self):
        return DriverStatus(self._server.url, bool(self), 1, 0, 0, 0, 0, 0.0, 0.0, ())

    def owns(self, thing):
        return thing is self


def make(server, clock):
    villain = server.url.endswith(("//hang:1", "//eat:1"))
    return Villain(server, clock) if villain else make_opcua(server, clock)


if __name__ == "__main__":
    main(make)
