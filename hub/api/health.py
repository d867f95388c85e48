"""Is it alive, is it ready, how is it doing: for supervisors and for Prometheus."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from gateway.model import Connectivity
from hub.api.caller import CallerOf
from hub.api.context import Context
from hub.historian import HistorianUnavailableError

GAUGES: Final = frozenset(
    {"inbox_entries", "inbox_bytes", "backlog_entries", "backlog_ms", "ingest_lag_ms"}
)
"""Counters that tell a present value instead of a sum."""


class Alive(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """Whether the hub can do its work, and what stands in the way."""

    status: str
    trouble: list[str]


def routes(context: Context) -> APIRouter:
    """Make the routes that watch the hub itself."""
    router = APIRouter(tags=["health"])
    metrics = CollectorRegistry()
    metrics.register(HubCollector(context))

    @router.get("/healthz", response_model=Alive)
    async def healthz() -> JSONResponse:
        """Answer as long as the process lives."""
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz",
        response_model=Ready,
        responses={503: {"model": Ready, "description": "Not ready"}},
    )
    async def readyz(caller: CallerOf) -> JSONResponse:
        """Answer 200 when data can arrive and be stored, 503 otherwise.

        What the trouble is stays between the hub and who runs it.
        """
        trouble = context.ready()
        status = "not ready" if trouble else "ready"
        told = trouble if caller.is_hub_admin else []
        return JSONResponse({"status": status, "trouble": told}, 503 if trouble else 200)

    @router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
    async def prometheus() -> Response:
        """Give every counter in Prometheus's text format."""
        body = await run_in_threadpool(generate_latest, metrics)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    return router


class HubCollector(Collector):
    """Reads the hub's counters when Prometheus asks; nothing is kept twice."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        yield from self._counters()
        yield from self._machines()
        yield from self._historian()
        viewers = GaugeMetricFamily("machikoba_stream_viewers", "Connections to the live stream")
        viewers.add_metric([], self._context.stream.viewers)
        yield viewers
        alarms = GaugeMetricFamily("machikoba_alarms_active", "Alarms that are on", labels=["code"])
        by_code: dict[str, int] = {}
        for alarm in self._context.alarms.active():
            by_code[alarm.code] = by_code.get(alarm.code, 0) + 1
        for code, count in by_code.items():
            alarms.add_metric([code], count)
        yield alarms

    def _counters(self) -> Iterator[Metric]:
        for field in fields(self._context.counters):
            value = getattr(self._context.counters, field.name)
            name = f"machikoba_hub_{field.name}"
            if isinstance(value, dict):
                family = CounterMetricFamily(name, f"{field.name}, by cause", labels=["cause"])
                for cause, count in list(value.items()):
                    family.add_metric([str(cause)], count)
                yield family
            elif field.name in GAUGES:
                yield GaugeMetricFamily(name, f"{field.name}, now", value=value)
            else:
                yield CounterMetricFamily(name, field.name, value=value)

    def _machines(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "machikoba_hub_hidden_births",
            "births of machines that are retired, or under a former id",
            value=self._context.live.hidden_births,
        )
        now_ms = self._context.now_ms()
        counts = dict.fromkeys(Connectivity, 0)
        for machine in self._context.live.machines():
            counts[machine.connectivity(now_ms)] += 1
        family = GaugeMetricFamily(
            "machikoba_machines", "Machines by connectivity", labels=["connectivity"]
        )
        for connectivity, count in counts.items():
            family.add_metric([connectivity.value], count)
        yield family

    def _historian(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("machikoba_historian_up", "1 when the historian answers")
        try:
            health = self._context.historian.health()
        except HistorianUnavailableError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 0 if health.trouble else 1)
        yield up
        size = GaugeMetricFamily("machikoba_historian_bytes", "Bytes of history on disk")
        size.add_metric([], health.bytes_on_disk)
        yield size
