"""The hub's parts over a fleet, as the tests put them together: in one place for both."""

from pathlib import Path

from benchmarks.fleet import Fleet, now_ms
from hub.api import Context
from hub.historian import open_historian
from hub.store import Store
from tests.hub.contexts import new_context


def open_context(fleet: Fleet, folder: Path) -> Context:
    """Put together what routes may ask, over files in a folder."""
    context: Context = new_context(  # type: ignore[no-untyped-call]  # tests are not annotated
        live=fleet.live,
        registry=fleet.registry,
        historian=open_historian(folder, fleet.index, memory_mib=128, raw_days=1, rollup_days=1),
        store=Store.open(f"sqlite:///{folder}/coordination.sqlite"),
        now_ms=now_ms,
    )
    return context
