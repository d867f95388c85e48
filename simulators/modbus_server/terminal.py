"""A serial port without hardware: a pseudo terminal whose far end is a line of machines."""

import asyncio
import contextlib
import os
from typing import Final

CHUNK_BYTES: Final = 4_096


class Terminal:
    """A pseudo terminal, joined to a TCP port that speaks serial frames.

    Whoever opens `path` as a serial port talks to the machines behind that TCP port.
    """

    def __init__(self) -> None:
        self.path = ""
        self._master = self._slave = -1
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, host: str, port: int) -> None:
        """Make the terminal and join it to a line.

        Raises:
            OSError: there is no terminal left, or nothing listens at the port.
        """
        import tty  # noqa: PLC0415 - only here, so that all else runs where there are no terminals

        reader, self._writer = await asyncio.open_connection(host, port)
        self._master, self._slave = os.openpty()
        # Our own end of the slave stays open: clients may come and go without ending the line.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        asyncio.get_running_loop().add_reader(self._master, self._from_terminal)
        self._task = asyncio.create_task(self._to_terminal(reader))

    async def close(self) -> None:
        """Take the terminal away, as when an adapter is unplugged."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def _from_terminal(self) -> None:
        with contextlib.suppress(OSError):
            data = os.read(self._master, CHUNK_BYTES)
            if self._writer is not None:
                self._writer.write(data)

    async def _to_terminal(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            # Nobody may be reading; a line does not wait for its listeners either.
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, data)
