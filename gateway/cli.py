"""The `machikoba` command: finds its subcommands by entry-point name, so it imports no room."""

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from typing import Final

COMMAND_GROUP: Final = "machikoba.commands"
USAGE_ERROR: Final = 2
SUMMARIES: Final = {
    "demo": "a whole simulated region, from machines to the page",
    "agent": "beside the machines: run, check, read, status",
    "hub": "at the centre: run, broker, and its checks",
    "sim": "simulated machines over real protocols",
}
Command = Callable[[Sequence[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code (0 good, 1 failed, 2 wrong use or settings)."""
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {point.name: point for point in entry_points(group=COMMAND_GROUP)}
    if not words or words[0] in {"-h", "--help"}:
        sys.stdout.write(_usage(commands))
        return 0
    if words[0] in {"-V", "--version"}:
        sys.stdout.write(f"machikoba {version('machikoba')}\n")
        return 0
    point = commands.get(words[0])
    if point is None:
        sys.stderr.write(f"machikoba: there is no command `{words[0]}`.\n{_usage(commands)}")
        return USAGE_ERROR
    command = _load(point)
    return USAGE_ERROR if command is None else command(words[1:])


def _load(point: EntryPoint) -> Command | None:
    """Import a subcommand, or say which extra it needs."""
    module = point.value.partition(":")[0]
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        extra = {"demo": "agent,hub,broker,sim"}.get(point.name, point.name)
        sys.stderr.write(
            f"machikoba {point.name}: the package `{error.name}` is not installed. "
            f"Install it with: pip install 'machikoba[{extra}]'\n"
        )
        return None
    command: Command = point.load()
    return command


def _usage(names: Iterable[str]) -> str:
    lines = [f"  {name:<7} {SUMMARIES.get(name, '')}" for name in SUMMARIES if name in set(names)]
    return "usage: machikoba <command> [--help]\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
