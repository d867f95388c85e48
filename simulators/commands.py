"""`machikoba sim`: run a region of simulated machines, or invent one."""

import argparse
import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from simulators.region import (
    Region,
    RegionError,
    Simulation,
    Whereabouts,
    generated,
    now_ms,
    read,
    to_yaml,
    write_agent_configs,
    write_hub_config,
    write_whole,
)

FAILED: Final = 1
USAGE_ERROR: Final = 2
ANSWER_S: Final = 10.0
"""How long a running region may take to answer an order."""


class UsageError(Exception):
    """The user gave something that cannot be used; the text says the remedy, too."""


def main(argv: Sequence[str]) -> int:
    """Run one command of the simulators and return its exit code."""
    # Third parties speak only when something is wrong with them, not with our faults.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for name in ("asyncua", "pymodbus_internal", "pymodbus"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
    except RegionError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return USAGE_ERROR
    except UsageError as error:
        sys.stderr.write(f"machikoba sim: {error}\n")
        return USAGE_ERROR
    except OSError as error:
        sys.stderr.write(f"machikoba sim: {error}. Choose another port or path, or 0.\n")
        return FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machikoba sim", description="Simulated machines over real protocols."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run all machines of a region until stopped")
    run.add_argument("region", type=Path, help="the region's YAML file")
    run.add_argument("--ready-file", type=Path, help="write the ready line here, too")
    run.add_argument("--control-port", type=int, default=0, help="port for faults (default: free)")
    run.set_defaults(run=_run)

    region = commands.add_parser("region", help="invent a region and print its YAML")
    region.add_argument("--sites", type=_count, default=4)
    region.add_argument("--machines", type=_count, default=4, help="machines of each site")
    region.add_argument("--seed", type=int, default=1)
    region.add_argument("--time-scale", type=float, default=1.0)
    region.add_argument("--protocols", choices=("half", "modbus", "opcua"), default="half")
    region.add_argument(
        "--step",
        choices=("tick", "on_read"),
        default="tick",
        help="Modbus step counters count by the clock, or each answered read",
    )
    region.set_defaults(run=_region)

    configs = commands.add_parser("configs", help="write the settings of agents and hub")
    configs.add_argument("region", type=Path, help="the region's YAML file")
    configs.add_argument("--ready", type=Path, required=True, help="ready file of `sim run`")
    configs.add_argument("--broker", required=True, help="mqtt://host:port")
    configs.add_argument("--listen", default="127.0.0.1:0", help="where the hub shall listen")
    configs.add_argument("--out", type=Path, required=True, help="directory to write to")
    configs.set_defaults(run=_configs)

    tell = commands.add_parser(
        "tell",
        help="give one order to a running region",
        epilog="for example: do=force site=ota-precision machine=mc-1 phase=down for_ms=20000",
    )
    tell.add_argument("--ready", type=Path, required=True, help="ready file of `sim run`")
    tell.add_argument("words", nargs="+", metavar="KEY=VALUE", help="see simulators/control.py")
    tell.set_defaults(run=_tell)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100:  # noqa: PLR2004 - sites and machines alike
        raise argparse.ArgumentTypeError("must be 1…100")
    return number


def _run(options: argparse.Namespace) -> int:
    return asyncio.run(_serve(read(options.region), options.ready_file, options.control_port))


async def _serve(plan: Region, ready_file: Path | None, control_port: int) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    simulation = Simulation(plan, now_ms)
    try:
        line = (await simulation.start(control_port)).to_json()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        if ready_file is not None:
            write_whole(ready_file, f"{line}\n")
        await stopping.wait()
    finally:
        await simulation.stop()
    return 0


def _region(options: argparse.Namespace) -> int:
    region = generated(
        sites=options.sites,
        machines=options.machines,
        seed=options.seed,
        time_scale=options.time_scale,
        protocols=options.protocols,
        step=options.step,
    )
    sys.stdout.write(to_yaml(region))
    return 0


def _configs(options: argparse.Namespace) -> int:
    region = read(options.region)
    whereabouts = _whereabouts(options.ready)
    hub = write_hub_config(
        region, broker_url=options.broker, listen=options.listen, out=options.out
    )
    agents = write_agent_configs(region, whereabouts, broker_url=options.broker, out=options.out)
    for path in (hub, *agents):
        sys.stdout.write(f"{path}\n")
    return 0


def _whereabouts(ready: Path) -> Whereabouts:
    try:
        return Whereabouts.from_json(ready.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{ready}: {error}. Give the file that `sim run` has written") from error


def _tell(options: argparse.Namespace) -> int:
    order = {}
    for word in options.words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} has no value. Write KEY=VALUE")
        order[key] = int(value) if value.isdigit() else value
    port = _whereabouts(options.ready).control_port
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as control:
        control.sendall(f"{json.dumps(order)}\n".encode())
        answer = control.makefile(encoding="utf-8").readline()
    sys.stdout.write(answer)
    return 0 if json.loads(answer)["ok"] else FAILED
