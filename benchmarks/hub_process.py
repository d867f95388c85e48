"""The API over a fleet, as a process of its own: `python -m benchmarks.hub_process N FILE`."""

import asyncio
import socket
import sys
import threading
from pathlib import Path

import uvicorn
import uvloop

from benchmarks.fleet import Fleet, free_folder, now_ms
from hub.access import Access
from hub.api import Context, create_app
from hub.historian import open_historian
from hub.live import Alarms, Counters
from hub.store import Store
from hub.stream import LiveStream


async def serve(machines: int, ready_file: Path) -> None:
    """Serve a fleet of machines that changes once a second, until killed."""
    fleet = Fleet(machines)
    fleet.beat()
    stream = LiveStream(fleet.live, now_ms=now_ms)
    folder = free_folder("hub")
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    context = Context(
        live=fleet.live,
        registry=fleet.registry,
        historian=open_historian(folder, fleet.index, memory_mib=128, raw_days=1, rollup_days=1),
        store=store,
        alarms=Alarms(now_ms=now_ms),
        counters=Counters(),
        stream=stream,
        ready=list,
        now_ms=now_ms,
        access=Access(store, now_ms=now_ms, is_open=True),
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    config = uvicorn.Config(
        create_app(context), log_config=None, access_log=False, lifespan="off", http="httptools"
    )
    threading.Thread(target=fleet.keep_beating, args=(threading.Event(),), daemon=True).start()
    ticking = asyncio.create_task(stream.run())
    await asyncio.to_thread(ready_file.write_text, str(listener.getsockname()[1]))
    await uvicorn.Server(config).serve([listener])
    ticking.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
