"""Writes what agents and hub must be told of a region, as the text of their own settings files.

Nothing of theirs is imported: a simulation learns their format from the documentation, as any
user does.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from simulators.machine import Kind, Signal, signals_of
from simulators.machine.signals import PROGRAM_BYTES
from simulators.modbus_server import Register, registers_of
from simulators.opcua_server import node_of
from simulators.region.plan import MachinePlan, Region, Site, dump
from simulators.region.simulation import Whereabouts

AGENT_ID: Final = "edge-1"
DAILY: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WORKDAYS: Final = DAILY[:5]
DRIVE_SHARE: Final = 0.05
"""Share of the nominal speed above which the main drive counts as turning."""
READING_S: Final = 3
"""What reading may add to a pause: an interval before it, one after it, and one for luck."""


def agent_yaml(
    site: Site,
    whereabouts: Whereabouts,
    *,
    broker_url: str,
    data: Path,
    agent: str = AGENT_ID,
    every: str = "1s",
    time_scale: float = 1.0,
) -> str:
    """Write the settings of the agent of one site.

    `every` is the pace of all signals. `time_scale` is the region's: it tells how long the pause
    between two parts is by the clock, in which a machine goes on counting as running.
    """
    machines = [
        _machine(site, plan, whereabouts.machines[(site.id, plan.id)], every, time_scale)
        for plan in site.machines
    ]
    return dump(
        {
            "site": site.id,
            "agent": agent,
            "broker": {"url": broker_url},
            "data": str(data),
            "machines": machines,
        }
    )


def hub_yaml(region: Region, *, broker_url: str, data: Path, listen: str = "127.0.0.1:0") -> str:
    """Write the settings of a hub that knows all sites of the region."""
    sites = {
        site.id: {
            "name": site.name.model_dump(),
            "time_zone": site.time_zone,
            "location": site.location.model_dump(),
            "municipality": site.municipality,
            "calendar": calendar_of(site),
        }
        for site in region.sites
    }
    return dump(
        {
            "listen": listen,
            "access": "open",
            "broker": {"url": broker_url},
            "data": str(data),
            "sites": sites,
        }
    )


def calendar_of(site: Site) -> dict[str, object]:
    """Write the hours of a site."""
    if site.hours == "around-the-clock":
        shifts = [
            _rule("work", "08:00", "16:00", DAILY, label="一直", on_holidays=True),
            _rule("work", "16:00", "00:00", DAILY, label="二直", on_holidays=True),
            _rule("work", "00:00", "08:00", DAILY, label="三直", on_holidays=True),
        ]
        return {"production_day_start": "08:00", "rules": shifts}
    if site.hours == "two-shifts":
        shifts = [
            _rule("work", "06:00", "14:00", WORKDAYS, label="早番"),
            _rule("work", "14:00", "22:00", WORKDAYS, label="遅番"),
            _rule("break", "10:00", "10:30", WORKDAYS),
            _rule("break", "18:00", "18:30", WORKDAYS),
        ]
        return {"production_day_start": "06:00", "holidays": "JP", "rules": shifts}
    hours = [
        _rule("work", "08:00", "17:00", WORKDAYS, label="昼勤"),
        _rule("break", "12:00", "13:00", WORKDAYS, label="昼休み"),
        _rule("break", "15:00", "15:15", WORKDAYS),
    ]
    return {"production_day_start": "08:00", "holidays": "JP", "rules": hours}


def _rule(
    kind: str, start: str, end: str, weekdays: Sequence[str], **more: object
) -> dict[str, object]:
    return {"kind": kind, "start": start, "end": end, "weekdays": list(weekdays), **more}


def _machine(
    site: Site, plan: MachinePlan, address: Mapping[str, Any], every: str, time_scale: float
) -> dict[str, object]:
    kind = plan.what
    if plan.protocol == "modbus":
        way: dict[str, object] = {"modbus": _modbus(address)}
        sources = {one.signal.name: _register(one) for one in registers_of(kind)}
    else:
        way = {"opcua": {"url": address["url"], "security": "none"}}
        sources = {
            signal.name: {"node": node_of(site.id, plan.id, signal.name), **_node_type(signal)}
            for signal in signals_of(kind)
        }
    return {
        "id": plan.id,
        "name": plan.shown_name.model_dump(),
        "kind": plan.kind,
        "maker": kind.maker,
        "model": kind.model,
        "processes": list(kind.processes),
        **way,
        "signals": {
            signal.name: {**sources[signal.name], **_manners(signal), "every": every}
            for signal in signals_of(kind)
        },
        "state": state_rules(kind, time_scale),
    }


def _modbus(address: Mapping[str, Any]) -> dict[str, object]:
    over = address.get("over", "tcp")
    if over == "serial":
        way = {"serial": address["serial"], "baud": address["baud"]}
    else:
        way = {over: f"{address['host']}:{address['port']}"}
    return {**way, "device_id": address["device_id"]}


def _register(register: Register) -> dict[str, object]:
    written: dict[str, object] = {"register": f"{register.table} {register.address}"}
    if register.type != "bool":
        written["type"] = register.type
    if register.type == "string":
        written["length"] = PROGRAM_BYTES
    if register.word_order != "big":
        written["word_order"] = register.word_order
    if register.scale != 1.0:
        written["scale"] = register.scale
    return written


def _node_type(signal: Signal) -> dict[str, object]:
    if signal.nature == "flag":
        return {"type": "bool"}
    return {"type": "string", "length": PROGRAM_BYTES} if signal.nature == "text" else {}


def _manners(signal: Signal) -> dict[str, object]:
    """Say how a signal is to be treated, whatever protocol it comes by."""
    manners: dict[str, object] = {}
    if signal.unit:
        manners["unit"] = signal.unit
    if signal.deadband:
        manners["deadband"] = signal.deadband
    if signal.nature == "counter":
        manners["counter"] = True
    if signal.counts is not None:
        manners["counts"] = signal.counts
    return manners


def state_rules(kind: Kind, time_scale: float) -> list[dict[str, object]]:
    """Write the rules by which a machine of this kind is judged.

    The longest change of a part, and some time for reading, does not interrupt `running`.
    """
    change_s = kind.cycle_s * (1.0 + kind.spread) * kind.load_share / time_scale
    release = f"{math.ceil(change_s) + READING_S}s"
    turning = f"{kind.drive} > {kind.drive_nominal * DRIVE_SHARE:g}"
    return [
        {"when": "alarm", "is": "down", "reason": "machine-alarm"},
        {"when": "setup_mode", "is": "setup"},
        {"when": turning, "is": "running", "hold": "1s", "release": release},
        {"when": "waiting_material", "is": "waiting", "reason": "no-material"},
        {"otherwise": "idle"},
    ]


def write_hub_config(region: Region, *, broker_url: str, listen: str, out: Path) -> Path:
    """Write `hub.yaml`; the hub's data directory lies beside it."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "hub.yaml"
    write_whole(path, hub_yaml(region, broker_url=broker_url, data=out / "hub", listen=listen))
    return path


def write_agent_configs(
    region: Region, whereabouts: Whereabouts, *, broker_url: str, out: Path
) -> list[Path]:
    """Write one `agent-<site>.yaml` each; their data directories lie beside them."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for site in region.sites:
        name = f"agent-{site.id}"
        text = agent_yaml(
            site,
            whereabouts,
            broker_url=broker_url,
            data=out / name,
            time_scale=region.time_scale,
        )
        paths.append(out / f"{name}.yaml")
        write_whole(paths[-1], text)
    return paths


def write_whole(path: Path, text: str) -> None:
    """Write a file that others never see half-written."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
