"""A cable that can be cut, held still or made noisy: a TCP proxy before a real server."""

import asyncio
import contextlib


class Cable:
    """Relays to a server; its own port stays the same whatever happens to the server."""

    def __init__(self, server_port):
        self.server_port = server_port
        self.still = False
        """Take in everything and pass nothing on."""
        self.noisy = False
        """Replace what the server says by noise."""
        self.delay_s = 0.0
        self._tasks = set()
        self._writers = set()
        self._listener = None
        self.port = 0

    async def __aenter__(self):
        await self.plug()
        return self

    async def __aexit__(self, *_):
        await self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def plug(self):
        """Let connections through."""
        self._listener = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self):
        """End all connections and refuse new ones."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        listener.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await listener.wait_closed()

    async def _connect(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self.server_port)
            self._writers.add(back)
            await asyncio.gather(
                self._pump(reader, back, noisy=False), self._pump(there, writer, noisy=True)
            )
        self._tasks.discard(asyncio.current_task())

    async def _pump(self, reader, writer, *, noisy):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.noisy and noisy:
                    data = bytes((byte * 31 + 7) % 256 for byte in data)
                if not self.still:
                    writer.write(data)
        writer.close()
