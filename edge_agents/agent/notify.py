"""systemd's readiness and watchdog messages: one datagram each, nothing without systemd."""

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

_SOCKET: Final = "NOTIFY_SOCKET"


class ServiceNotice:
    """Tells the service supervisor that the agent is ready and that its loop still turns."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # A leading @ is systemd's way to write the abstract namespace's zero byte.
        self._address = environment.get(_SOCKET, "").replace("@", "\0", 1)

    def ready(self) -> None:
        """Say that values are being read and kept."""
        self._send(b"READY=1")

    def reloading(self) -> None:
        """Say that new settings are being taken over; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}".encode())

    def alive(self) -> None:
        """Say that the loop which reads the machines went round once more."""
        self._send(b"WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end was asked for."""
        self._send(b"STOPPING=1")

    def _send(self, message: bytes) -> None:
        if not self._address:
            return
        # A supervisor that does not listen is no reason to stop reading machines.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.setblocking(False)  # noqa: FBT003 (the library's own signature)
            link.sendto(message, self._address)
