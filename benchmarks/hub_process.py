"""The API over a fleet, as a process of its own: `python -m benchmarks.hub_process N FILE`."""

import asyncio
import socket
import sys
import threading
from pathlib import Path

import uvicorn
import uvloop

from benchmarks.fleet import Fleet, free_folder
from benchmarks.hub_parts import open_context
from hub.api import create_app
from hub.coordination.watch import Watch


async def serve(machines: int, ready_file: Path) -> None:
    """Serve a fleet of machines that changes once a second, until killed."""
    fleet = Fleet(machines)
    fleet.beat()
    context = open_context(fleet, free_folder("hub"))
    stream = context.stream
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    config = uvicorn.Config(
        create_app(context), log_config=None, access_log=False, lifespan="off", http="httptools"
    )
    threading.Thread(target=fleet.keep_beating, args=(threading.Event(),), daemon=True).start()
    Watch({"capacity": context.capacity.board.refresh}).start()
    ticking = asyncio.create_task(stream.run())
    await asyncio.to_thread(ready_file.write_text, str(listener.getsockname()[1]))
    await uvicorn.Server(config).serve([listener])
    ticking.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
