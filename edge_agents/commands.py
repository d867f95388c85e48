"""`machikoba agent …`: what a person starts and asks beside the machines."""

import argparse
import asyncio
import http.client
import importlib.util
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edge_agents.agent import PORT_FILE, load, serve
from edge_agents.agent.agent import utc_ms
from edge_agents.agent.births import BIRTH_BYTES_MAX, birth_bytes
from edge_agents.agent.loading import ENVIRONMENT_PREFIX, strict
from edge_agents.config import AgentConfig, MachineConfig
from edge_agents.drivers import PlanSummary, conversations, line_plans, read_each, read_once
from edge_agents.first_look.commands import add_commands
from edge_agents.profiles import Profile, profiles, read_profile
from edge_agents.terminal import FAILED, GOOD, WRONG_USE, complain, say, table
from gateway import logs
from gateway.journal import JournalError
from gateway.model import Quality, Reason, Sample
from gateway.settings import SettingsError
from gateway.states import show

UTILISATION_WARNING: Final = 0.7
UTILISATION_MAX: Final = 1.0
READ_TIMEOUT_S: Final = 5.0
READS_MAX: Final = 32
"""Machines that `check` reads at the same moment."""
STATUS_TIMEOUT_S: Final = 3.0
_FAILURES: Final = frozenset(
    {
        Reason.TIMEOUT,
        Reason.CONNECTION,
        Reason.REFUSED,
        Reason.ADDRESS,
        Reason.GARBLED,
        Reason.TYPE,
        Reason.UNKNOWN,
    }
)
"""Reasons that mean the machine was not read; the others are things that it said itself."""


def main(argv: Sequence[str]) -> int:
    """Run an agent command; exit codes are 0 good, 1 failed, 2 wrong use or settings."""
    words = _parser().parse_args(list(argv))
    logs.configure("agent", level=words.log_level)
    try:
        code: int = words.run(words)
    except SettingsError as error:
        return complain(str(error), WRONG_USE)
    except JournalError as error:
        return complain(f"machikoba agent: the outbox cannot be used: {error}", FAILED)
    except ModuleNotFoundError as error:
        return complain(
            f"machikoba agent: the package `{error.name}` is not installed. "
            "Install it with: pip install 'machikoba[agent]'",
            WRONG_USE,
        )
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machikoba agent",
        description="Beside the machines: reads them, keeps every value, sends it to the hub. "
        "It never writes to a machine.",
        epilog="exit codes: 0 good; 1 failed (a machine, the outbox or the agent cannot be "
        "reached); 2 wrong use or settings. Environment variables "
        f"{ENVIRONMENT_PREFIX}<KEY>__<KEY> win over the file.",
    )
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING"])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "read, keep and send until told to stop")
    check = _command(
        commands, "check", _check, "judge the settings, plan the requests, read each machine once"
    )
    check.add_argument("--offline", action="store_true", help="do not read the machines")
    read = _command(commands, "read", _read, "read one machine now and print it; sends nothing")
    read.add_argument("machine", metavar="MACHINE", help="id of the machine")
    read.add_argument("--timeout", type=float, default=READ_TIMEOUT_S, help="seconds (default 5)")
    status = _command(commands, "status", _status, "how the running agent is doing")
    known = _command(commands, "profiles", _profiles, "the devices that are known already")
    known.add_argument("profile", metavar="PROFILE", nargs="?", help="tell all of one of them")
    add_commands(commands)
    for command in (check, read, status, known):
        command.add_argument("--json", action="store_true", help="for programs")
    trust = _command(
        commands, "trust", _trust, "pin the certificate that an OPC UA server shows now"
    )
    trust.add_argument("url", metavar="URL", help="the server, as in the settings: opc.tcp://…")
    trust.add_argument("--fingerprint", help="SHA-256 that it must have; then nobody is asked")
    trust.add_argument("--yes", action="store_true", help="do not ask")
    own = _command(
        commands, "certificate", _certificate, "show the agent's own, for OPC UA servers"
    )
    for command in (run, check, read, status, trust, own):
        command.add_argument("--config", type=Path, required=True, help="settings (YAML)")
    return parser


def _command(commands: Any, name: str, run: Any, words: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    command.set_defaults(run=run)
    return command


def _run(words: argparse.Namespace) -> int:
    loaded = load(words.config)
    _require_packages(loaded.config)
    asyncio.run(serve(loaded, words.config))
    return GOOD


def _trust(words: argparse.Namespace) -> int:
    from edge_agents import trust  # noqa: PLC0415 (the OPC UA library takes 25 MiB)

    config = load(words.config).config
    try:
        trust.trust(
            config, words.url, fingerprint=words.fingerprint, yes=words.yes, people=sys.stdin
        )
    except trust.RefusedError as error:
        return complain(f"{error}", FAILED)
    return GOOD


def _certificate(words: argparse.Namespace) -> int:
    from edge_agents import trust  # noqa: PLC0415 (the OPC UA library takes 25 MiB)

    try:
        trust.own_certificate(load(words.config).config)
    except trust.RefusedError as error:
        return complain(f"{error}", FAILED)
    return GOOD


def _require_packages(config: AgentConfig) -> None:
    """Raise ModuleNotFoundError here rather than in the processes that read OPC UA."""
    if any(machine.opcua is not None for machine in config.machines) and not _is_there("asyncua"):
        raise ModuleNotFoundError(name="asyncua")


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a package that was withdrawn from this process
        return False


def _check(words: argparse.Namespace) -> int:
    config = strict(words.config)
    if words.json:
        return _check_as_json(config, offline=words.offline)
    signals = sum(len(machine.signals) for machine in config.machines)
    said = f"{_count(len(config.machines), 'machine')}, {_count(signals, 'signal')}"
    say(f"{words.config}: {said}: no mistakes")
    code = max(_judge_births(config), _show_plan(config))
    for advice in _advice(config):
        say(f"advice: {advice}")
    if words.offline or code != GOOD:
        return code
    _require_packages(config)
    readings = asyncio.run(_read_all(config))
    say("")
    return _show_readings(config, readings)


def _check_as_json(config: AgentConfig, *, offline: bool) -> int:
    plans = line_plans(config)
    code = max(_judge_births(config), _too_busy(plans))
    readings = {}
    if code == GOOD and not offline:
        _require_packages(config)
        readings = asyncio.run(_read_all(config))
    told = {
        "lines": [{"line": name, **asdict(plan)} for name, plan in plans.items()],
        "advice": list(_advice(config)),
        "machines": [
            {
                "machine": one.id,
                "at": _way(one),
                "signals": len(one.signals),
                "read": [_as_dict(sample, one) for sample in readings.get(one.id, ())],
            }
            for one in config.machines
        ],
    }
    say(json.dumps(told, ensure_ascii=False))
    return max(code, _unread(readings))


def _judge_births(config: AgentConfig) -> int:
    for machine in config.machines:
        size = birth_bytes(machine)
        if size > BIRTH_BYTES_MAX:
            return complain(
                f"the birth of {machine.id} has {size // 1024} KiB, more than"
                f" {BIRTH_BYTES_MAX // 1024}: the hub would refuse it. Make two machines of it,"
                " or give its signals shorter names",
                WRONG_USE,
            )
    return GOOD


def _show_plan(config: AgentConfig) -> int:
    plans = line_plans(config)
    if not plans:
        return GOOD
    rows = [
        (name, plan.requests, plan.addresses, f"{plan.requests_per_s:.1f}/s",
         f"{plan.utilisation:.0%}{_verdict(plan.utilisation)}")
        for name, plan in plans.items()
    ]  # fmt: skip
    say("")
    table(("line", "requests", "registers", "rate", "utilisation"), rows)
    return _too_busy(plans)


def _too_busy(plans: Mapping[str, PlanSummary]) -> int:
    busy = [name for name, plan in plans.items() if plan.utilisation > UTILISATION_MAX]
    if busy:
        remedy = "Read less often (`every:`), or allow larger requests (`max_gap:`, `max_read:`)"
        return complain(f"{busy[0]} cannot answer that much. {remedy}", WRONG_USE)
    return GOOD


def _verdict(utilisation: float) -> str:
    if utilisation > UTILISATION_MAX:
        return " TOO MUCH"
    return " busy" if utilisation > UTILISATION_WARNING else ""


def _advice(config: AgentConfig) -> Iterable[str]:
    for machine in config.machines:
        by_index = [
            name for name, one in machine.signals.items() if (one.node or "").startswith("ns=")
        ]
        if by_index:
            yield (
                f"{machine.id}: {by_index[0]} names its namespace by number, which a server may"
                " change at its next start; write nsu=<URI>; instead of ns=<number>;"
            )
        opcua = machine.opcua
        if opcua is not None and opcua.security == "none" and opcua.user is not None:
            yield (
                f"{machine.id}: whoever listens may read along, and maybe the password of"
                f" {opcua.user!r}; have Basic256Sha256 enabled at the server instead of `none`"
            )
        if not machine.state:
            yield f"{machine.id} has no state rules, so its state stays unknown"
    if config.ack == "none":
        yield "ack: none: a value counts as sent once published; nobody says that it was stored"


async def _read_all(config: AgentConfig) -> dict[str, tuple[Sample, ...]]:
    """Read all machines; those that share a line one after another, as it must be."""
    gate = asyncio.Semaphore(READS_MAX)

    async def read(part: AgentConfig) -> dict[str, tuple[Sample, ...]]:
        async with gate:
            timeout_s = READ_TIMEOUT_S + len(part.machines) - 1
            return await read_each(
                part, now_ms=utc_ms, rng=random.SystemRandom(), timeout_s=timeout_s
            )

    parts = await asyncio.gather(*map(read, conversations(config).values()))
    return {machine: samples for part in parts for machine, samples in part.items()}


async def _read_machine(config: AgentConfig, machine: str, timeout_s: float) -> tuple[Sample, ...]:
    return await read_once(
        config, machine, now_ms=utc_ms, rng=random.SystemRandom(), timeout_s=timeout_s
    )


def _show_readings(config: AgentConfig, readings: Mapping[str, Sequence[Sample]]) -> int:
    rows = []
    for machine in config.machines:
        samples = readings[machine.id]
        bad = [sample for sample in samples if sample.quality is Quality.BAD]
        few = ", ".join(f"{one.signal} ({_reason(one)})" for one in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""  # noqa: PLR2004 (as above)
        rows.append((machine.id, _way(machine), f"{len(samples) - len(bad)}/{len(samples)}",
                     f"{few}{more}" if bad else ""))  # fmt: skip
    table(("machine", "at", "good", "not read"), rows)
    return _unread(readings)


def _unread(readings: Mapping[str, Sequence[Sample]]) -> int:
    failed = any(
        sample.quality is Quality.BAD and sample.reason in _FAILURES
        for samples in readings.values()
        for sample in samples
    )
    return FAILED if failed else GOOD


def _way(machine: MachineConfig) -> str:
    if machine.modbus is not None:
        return f"{machine.modbus.way} device {machine.modbus.device_id}"
    return machine.opcua.url if machine.opcua is not None else ""


def _read(words: argparse.Namespace) -> int:
    config = load(words.config).config
    machine = next((one for one in config.machines if one.id == words.machine), None)
    if machine is None:
        known = ", ".join(one.id for one in config.machines)
        return complain(f"there is no usable machine {words.machine!r}. Usable: {known}", WRONG_USE)
    _require_packages(config)
    samples = asyncio.run(_read_machine(config, machine.id, words.timeout))
    if words.json:
        say(json.dumps([_as_dict(sample, machine) for sample in samples], ensure_ascii=False))
    else:
        rows = [
            (one.signal, show(one.value), machine.signals[one.signal].unit,
             one.quality.name.lower() + (f" ({_reason(one)})" if one.reason else ""),
             _clock(one.time_ms))
            for one in samples
        ]  # fmt: skip
        table(("signal", "value", "unit", "quality", "read at (UTC)"), rows)
    unread = all(sample.reason in _FAILURES for sample in samples)
    return FAILED if unread else GOOD


def _as_dict(sample: Sample, machine: MachineConfig) -> dict[str, object]:
    return {
        "signal": sample.signal,
        "value": sample.value,
        "unit": machine.signals[sample.signal].unit or None,
        "quality": sample.quality.name.lower(),
        "reason": _reason(sample) if sample.reason else None,
        "time_ms": sample.time_ms,
    }


def _status(words: argparse.Namespace) -> int:
    config = load(words.config).config
    text = _ask(config.data)
    if text is None:
        return complain(f"no agent is running in {config.data}", FAILED)
    if words.json:
        say(text)
        return GOOD
    said = json.loads(text)
    _show_session(said)
    _show_outbox(said)
    _show_clock(said)
    _show_lines(said)
    for problem in said["disabled"]:
        say(f"not in use: {problem}")
    return GOOD if said["healthy"] else FAILED


def _profiles(words: argparse.Namespace) -> int:
    known = [read_profile(path) for path in profiles().values()]
    if words.profile is not None:
        known = [one for one in known if one.slug == words.profile]
        if not known:
            return complain(f"there is no profile {words.profile!r}", WRONG_USE)
    if words.json:
        told = [
            {"profile": one.slug, **one.model_dump(mode="json", by_alias=True)} for one in known
        ]
        say(json.dumps(told, ensure_ascii=False))
    elif words.profile is None:
        rows = [(one.slug, one.protocol, len(one.signals), one.title.en) for one in known]
        table(("profile", "protocol", "signals", "device"), rows)
    else:
        _show_profile(known[0])
    return GOOD


def _show_profile(profile: Profile) -> None:
    say(f"{profile.title.en}\n{profile.title.ja}")
    say(f"\nsource: {profile.source}")
    if profile.checked == "document":
        say("Written from that document and not yet tried on a device: compare the first reading")
        say("with the display, and tell us.")
    if profile.notes:
        say(f"notes: {profile.notes}")
    way = "modbus: {tcp: 192.168.10.21, device_id: 1}"
    if profile.protocol == "opcua":
        way = "opcua: {url: opc.tcp://192.168.10.40:4840}"
    say(f"\nmachines:\n  - id: my-machine\n    profile: {profile.slug}\n    {way}\n")
    rows = [
        (name, told.get("register") or told.get("node"), told.get("type", "bool"),
         told.get("unit", ""), told.get("every", "1s"))
        for name, told in profile.signals.items()
    ]  # fmt: skip
    table(("signal", "at", "type", "unit", "every"), rows)


def _ask(data: Path) -> str | None:
    """Ask the running agent of this data directory; None when there is none."""
    try:
        port = int((data / PORT_FILE).read_text(encoding="ascii"))
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=STATUS_TIMEOUT_S)
        link.request("GET", "/status.json")
        return link.getresponse().read().decode()
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _show_session(said: Mapping[str, Any]) -> None:
    session = said["session"]
    up_s = (said["time_ms"] - said["started_ms"]) / 1000
    hub = session["host"] or "none met yet"
    say(f"{said['site']}/{said['agent']}: version {said['version']}, up {_span(up_s)}, "
         f"{_count(said['machines'], 'machine')}")  # fmt: skip
    say(f"broker {'connected' if session['connected'] else 'not connected'}; hub {hub}, "
         f"{'answering' if session['answered'] else 'not answering'}; "
         f"{session['in_flight']} entries under way, {session['resent']} sent again")  # fmt: skip


def _show_clock(said: Mapping[str, Any]) -> None:
    clock = said["clock"]
    if clock["standing"] == "waiting":
        say(f"clock NOT KNOWN to be right: {clock['waiting']} values wait for it")
    elif clock["standing"] == "hub":
        say("clock told by the hub: values are marked as of uncertain time")
    if clock["steps"] or clock["untimed"]:
        say(f"clock set {clock['steps']} times; {clock['untimed']} values of uncertain time")


def _show_outbox(said: Mapping[str, Any]) -> None:
    outbox = said["outbox"]
    if not outbox["durable"]:
        say(f"outbox NOT WRITABLE: {outbox['trouble']}")
    if "journal" not in outbox:
        return
    journal = outbox["journal"]
    oldest = "none waiting"
    if journal["oldest_ms"] is not None:
        oldest = f"oldest {_span((said['time_ms'] - journal['oldest_ms']) / 1000)}"
    left = outbox["hours_left"]
    room = "unknown yet" if left is None else _span(left * 3600)
    say(f"outbox {journal['unsettled']} entries waiting ({oldest}), "
         f"{journal['bytes'] / 1024**2:.1f} of {journal['bytes_max'] / 1024**2:.0f} MiB; "
         f"the hub may stay away for {room}; "
         f"{journal['dropped_samples']} values given up")  # fmt: skip


def _show_lines(said: Mapping[str, Any]) -> None:
    rows = [
        (line["name"], "yes" if line["connected"] else "NO", f"{line['rtt_ms']:.1f} ms",
         line["requests"], line["timeouts"], line["exceptions"], line["missed_polls"],
         f"{line['utilisation']:.0%}", _unit_notes(line["units"]))
        for line in said["lines"]
    ]  # fmt: skip
    say("")
    table(
        ("line", "connected", "round trip", "requests", "time-outs", "refused", "missed",
         "utilisation", "silent machines"), rows,
    )  # fmt: skip


def _unit_notes(units: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{unit['machine']} ({Reason(unit['reason']).name.lower()}"
        f"{', only probed' if unit['breaker_open'] else ''})"
        for unit in units
        if not unit["link"]
    )


def _reason(sample: Sample) -> str:
    return sample.reason.name.lower().replace("_", " ")


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def _span(duration_s: float) -> str:
    for unit, size_s in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if duration_s >= 2 * size_s:
            return f"{duration_s / size_s:.0f} {unit}"
    return f"{max(0.0, duration_s):.0f} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
