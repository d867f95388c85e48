"""The command line of the demo."""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from simulators.demo.region_demo import CHECK_LIMIT_S, Command, Demo, Setting
from simulators.region import Region, RegionError, generated, read

USAGE_ERROR: Final = 2
TIME_SCALE: Final = 12.0
"""Machines live faster in a demo, so that a visitor sees something happen."""


class UsageError(Exception):
    """The user asked for something that cannot be; the text says the remedy, too."""


def main(argv: Sequence[str]) -> int:
    """Run the demo and return its exit code (0 good, 1 failed, 2 wrong use)."""
    return run(argv, machikoba)


def machikoba(words: Sequence[str]) -> Sequence[str]:
    """Return the command line of one `machikoba` command, of this very installation."""
    return [sys.executable, "-m", "gateway.cli", *words]


def run(argv: Sequence[str], command: Command) -> int:
    """Run the demo with a given way to start its parts."""
    options = _parser().parse_args(argv)
    try:
        setting = _setting(options)
        with _alone_in(setting.directory):
            return asyncio.run(_run(setting, command))
    except (UsageError, RegionError) as error:
        sys.stderr.write(f"machikoba demo: {error}\n")
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machikoba demo",
        description="A whole simulated region on this computer, from machines to the page.",
        epilog="exit codes: 0 good, 1 failed, 2 wrong use",
    )
    parser.add_argument("--sites", type=int, choices=range(1, 21), metavar="1-20", default=4)
    parser.add_argument(
        "--machines",
        type=int,
        choices=range(1, 51),
        metavar="1-50",
        default=4,
        help="machines of each site, half Modbus and half OPC UA",
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, other lives")
    parser.add_argument("--time-scale", type=float, default=TIME_SCALE)
    parser.add_argument("--region", type=Path, help="a region's YAML instead of an invented one")
    parser.add_argument("--port", type=int, default=8080, help="of the page; 0: a free one")
    parser.add_argument("--data", type=Path, help="directory for data and logs")
    parser.add_argument(
        "--check", action="store_true", help="end as soon as every machine is live, or say why not"
    )
    parser.add_argument(
        "--limit-s", type=float, default=CHECK_LIMIT_S, help="how long a check may wait, in seconds"
    )
    return parser


def _setting(options: argparse.Namespace) -> Setting:
    region = _region(options)
    name = options.region.stem if options.region else f"{options.sites}x{options.machines}"
    directory = options.data or Path("build", "demo", f"{name}-seed{region.seed}")
    return Setting(region, directory.resolve(), _free(options.port), options.check, options.limit_s)


def _region(options: argparse.Namespace) -> Region:
    if options.region is not None:
        return read(options.region)
    if not 0 < options.time_scale <= 10_000:  # noqa: PLR2004 - as in a region's file
        raise UsageError("--time-scale must be above 0 and at most 10000")
    return generated(
        sites=options.sites,
        machines=options.machines,
        seed=options.seed,
        time_scale=options.time_scale,
    )


def _free(port: int) -> int:
    """Return the port if nobody listens there, or a free one for 0."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that are winding down are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"port {port} cannot be used ({error}). Choose another with --port, "
                "or any free one with --port 0"
            ) from error
        chosen: int = probe.getsockname()[1]
        return chosen


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold the directory for this demo; its journals allow no second one."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be used ({error.strerror}). Choose another with --data"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(
            f"another demo is running in {directory}. Stop it, or choose another with --data"
        ) from error
    finally:
        os.close(lock)


async def _run(setting: Setting, command: Command) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    machines = [one for site in setting.region.sites for one in site.machines]
    over_opcua = sum(one.protocol == "opcua" for one in machines)
    _say(
        f"Machikoba demo: {len(setting.region.sites)} sites, {len(machines)} machines "
        f"({len(machines) - over_opcua} Modbus TCP, {over_opcua} OPC UA)\n"
        f"Data and logs: {setting.directory}"
    )
    return await Demo(setting, command=command, say=_say).run(stopping)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
