"""The embedded MQTT broker, the convenience default for one box. The only door to iotcore.

It keeps nothing on disk and needs not to: what is unsettled lies in the agents' journals. It is
bound to loopback always; anything real runs mosquitto.
"""

import socket
from typing import Final

import iotcore

PAYLOAD_BYTES_MAX: Final = 262_144
"""The engine's own default of 20,480 bytes would disconnect whoever sends a larger birth."""
LOOPBACK: Final = "127.0.0.1"


class BrokerError(Exception):
    """The broker cannot start; the message says why and what to do."""


class EmbeddedBroker:
    """A broker on a port of this box, in a child process that ends with this one."""

    def __init__(self, port: int) -> None:
        self.port = port or _free_port()
        self._broker = iotcore.Broker(
            port=self.port, listen=LOOPBACK, max_payload_size=PAYLOAD_BYTES_MAX
        )

    def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            BrokerError: the port is taken, or the engine did not come up.
        """
        try:
            self._broker.start()
        except OSError as error:
            raise BrokerError(
                f"port {self.port} of {LOOPBACK} is taken ({error}). Choose another with --port"
            ) from error
        except RuntimeError as error:
            raise BrokerError(f"the broker did not start: {error}. Try again") from error

    @property
    def running(self) -> bool:
        """Tell whether the child still lives."""
        return bool(self._broker.is_running)

    def stop(self) -> None:
        """Stop the child; safe to call twice."""
        self._broker.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
