"""`machikoba hub …`: what an operator starts and asks at the centre."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway import logs, settings
from hub import asking, letting_in
from hub.broker import BrokerError, EmbeddedBroker
from hub.config import HubConfig
from hub.service import HubError, run_hub, tell_port

log = logging.getLogger(__name__)

GOOD: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
ENVIRONMENT_PREFIX: Final = "MACHIKOBA_HUB__"
WATCH_S: Final = 1.0


def main(argv: Sequence[str]) -> int:
    """Run a hub command; exit codes are 0 good, 1 failed, 2 wrong use or settings."""
    words = _parser().parse_args(list(argv))
    logs.configure("hub", level=words.log_level)
    if hasattr(words, "ask"):
        return asking.run(words)
    if hasattr(words, "act"):
        return letting_in.run(words)
    if words.command == "broker":
        return _broker(words.port, words.ready_file)
    try:
        config = read_config(words.config)
    except settings.SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE
    return _run(config, words.ready_file)


def read_config(path: Path | None) -> HubConfig:
    """Read the hub's settings, all defaults when there is no file.

    Raises:
        SettingsError: with one readable line for each mistake.
    """
    document = settings.Document(Path("(no file)"), {}) if path is None else settings.read(path)
    settings.override(document, os.environ, ENVIRONMENT_PREFIX)
    return settings.validate(document, HubConfig)


def _run(config: HubConfig, ready_file: Path | None) -> int:
    try:
        run_hub(config, ready_file)
    except HubError as error:
        sys.stderr.write(f"machikoba hub: {error}\n")
        return FAILED
    return GOOD


def _broker(port: int, ready_file: Path | None) -> int:
    """Run the embedded broker until told to stop, or until it dies."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    broker = EmbeddedBroker(port)
    try:
        broker.start()
        if ready_file is not None:
            tell_port(ready_file, broker.port)
        log.info("broker listening on 127.0.0.1:%d, loopback only", broker.port)
        while not stop.wait(WATCH_S):
            if not broker.running:
                sys.stderr.write("machikoba hub broker: the broker died\n")
                return FAILED
    except BrokerError as error:
        sys.stderr.write(f"machikoba hub broker: {error}\n")
        return FAILED
    finally:
        broker.stop()
    return GOOD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machikoba hub",
        description="The centre: stores what the sites send and tells what every machine is doing.",
        epilog="exit codes: 0 good, 1 failed, 2 wrong use or settings",
    )
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING"])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="receive, store and answer until told to stop")
    run.add_argument("--config", type=Path, help="settings (YAML); all defaults without it")
    broker = commands.add_parser("broker", help="the embedded MQTT broker, for one box only")
    broker.add_argument("--port", type=int, default=1883, help="0 chooses a free one")
    for command in (run, broker):
        command.add_argument(
            "--ready-file", type=Path, help="written when it listens: the port, in one line"
        )
    asking.add_commands(commands)
    letting_in.add_commands(commands, read_config)
    return parser
