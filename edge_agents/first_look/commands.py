"""`machikoba agent scan | probe | browse | init | join`: from nothing to a first settings file."""

import argparse
import asyncio
import getpass
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from edge_agents.agent.loading import strict
from edge_agents.config import MODBUS_PORT, Endpoint, Register, parse_endpoint, parse_register
from edge_agents.drivers import opcua_server
from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.enquiry import Enquiry, enquiring
from edge_agents.drivers.line import Disconnected, Refusal
from edge_agents.drivers.modbus import ModbusTransport, over_serial, over_tcp, rtu_over_tcp
from edge_agents.drivers.nodes import BrowseError, FoundNode, Reach, Server
from edge_agents.drivers.registers import Block, Kind, Table
from edge_agents.drivers.serial_port import SerialSettings
from edge_agents.first_look import join, probe, scan
from edge_agents.first_look.starting_file import FoundDevice, starting_file
from edge_agents.profiles import profiles, read_profile
from edge_agents.terminal import FAILED, GOOD, WRONG_USE, Bar, complain, say, table
from gateway.settings import MistakeError

OPCUA_PORT: Final = 4840
CONNECT_S: Final = 2.0
ASKED_AT_ONCE: Final = 16
TCP_TIMEOUT_S: Final = 0.5
SERIAL_TIMEOUT_S: Final = 0.2
WORDS_MAX: Final = 32
LONE_UNITS: Final = "1,255"
"""Ids by which a device with an address of its own is asked."""
BROWSE_TIMEOUT_S: Final = 10.0
BAUDS: Final = "9600,19200,38400,115200"

Commands = Any
"""What argparse calls the place where subcommands are added."""


def add_commands(commands: Commands) -> None:
    """Add the commands of the first five minutes."""
    _add_scan(commands)
    _add_probe(commands)
    _add_browse(commands)
    init = _command(commands, "init", _init, "write a first settings file, with comments")
    init.add_argument("--site", default="my-workshop", help="id of your workshop")
    init.add_argument("--agent", default="line-1", help="id of this computer")
    init.add_argument("--broker", default="mqtt://127.0.0.1:1883", help="address of the broker")
    init.add_argument("--out", type=Path, default=Path("edge.yaml"), help="default edge.yaml")
    _add_join(commands)


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], words: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    command.set_defaults(run=run)
    return command


def _add_scan(commands: Commands) -> None:
    command = _command(
        commands, "scan", _scan, "find machines on a network or a serial line, by reading only"
    )
    ways = command.add_subparsers(dest="way", required=True, metavar="tcp|serial")
    tcp = ways.add_parser("tcp", help="a network, e.g. 192.168.10.0/28, or one address")
    tcp.add_argument("network", metavar="NETWORK")
    tcp.add_argument("--port", type=int, default=MODBUS_PORT, help="default 502")
    tcp.add_argument(
        "--units", default=LONE_UNITS, help="device ids to ask, e.g. 1-247 of a gateway"
    )
    tcp.add_argument("--timeout", type=float, default=TCP_TIMEOUT_S, help="seconds")
    line = ways.add_parser("serial", help="a serial line, e.g. /dev/ttyUSB0")
    line.add_argument("port", metavar="PORT")
    line.add_argument("--units", default="1-32", help="device ids to ask, default 1-32")
    line.add_argument("--baud", default=BAUDS, help=f"speeds to try, default {BAUDS}")
    line.add_argument("--parity", default="N,E", help="parities to try, default N,E")
    line.add_argument("--timeout", type=float, default=SERIAL_TIMEOUT_S, help="seconds")
    for way in (tcp, line):
        way.add_argument("--json", action="store_true", help="for programs")
        way.add_argument("--write", type=Path, metavar="FILE", help="write a first settings file")


def _add_probe(commands: Commands) -> None:
    command = _command(
        commands, "probe", _probe, "show registers in every type and order side by side"
    )
    command.add_argument("register", metavar="REGISTER", help='the first, e.g. "holding 100"')
    way = command.add_mutually_exclusive_group(required=True)
    way.add_argument("--tcp", metavar="HOST[:PORT]")
    way.add_argument("--rtu-tcp", metavar="HOST:PORT", help="serial frames through a gateway")
    way.add_argument("--serial", metavar="PORT")
    command.add_argument("--baud", type=int, default=9600)
    command.add_argument("--parity", choices=["N", "E", "O"], default="N")
    command.add_argument("--device-id", type=int, default=1)
    command.add_argument("--count", type=int, default=8, help=f"registers, 1 to {WORDS_MAX}")
    command.add_argument("--display", help="what the machine's display says, e.g. 231.4")
    command.add_argument("--json", action="store_true", help="for programs")
    command.add_argument("--timeout", type=float, default=TCP_TIMEOUT_S, help="seconds")


def _add_browse(commands: Commands) -> None:
    command = _command(
        commands, "browse", _browse, "show the tree of an OPC UA server, with its node ids"
    )
    command.add_argument("url", metavar="opc.tcp://HOST:4840")
    command.add_argument("--config", type=Path, help="settings that say how it is trusted")
    command.add_argument("--under", metavar="NODE", help="start at this node")
    command.add_argument("--depth", type=int, default=6, help="levels, default 6")
    command.add_argument("--search", metavar="TEXT", help="only paths and ids that hold this text")
    command.add_argument("--all", action="store_true", help="also what the server says of itself")
    command.add_argument("--json", action="store_true", help="for programs")


def _add_join(commands: Commands) -> None:
    command = _command(
        commands, "join", _join, "let this agent speak for a site, by a one-time code of the hub"
    )
    command.add_argument("code", nargs="?", help="the code; without it, it is asked for")
    command.add_argument("--hub", help="address of the hub, e.g. https://hub.example")
    command.add_argument("--agent", default="line-1", help="id of this computer")
    command.add_argument("--ca-file", type=Path, help="the hub's certificate authority (PEM)")
    command.add_argument("--folder", type=Path, default=Path("/etc/machikoba"))
    command.add_argument("--by-hand", action="store_true", help="without a hub's help")
    command.add_argument("--site", help="by hand: id of the site, and user of the broker")
    command.add_argument("--broker", help="by hand: address of the broker, mqtts://…")


def _scan(words: argparse.Namespace) -> int:
    known = [read_profile(path) for path in profiles().values()]
    try:
        wanted = scan.units(words.units)
        if words.way == "tcp":
            inquiry = scan.Inquiry(wanted, known, words.timeout, scan.SILENT_UNITS_MAX)
            found = asyncio.run(_scan_network(words, scan.hosts(words.network), inquiry))
        else:
            inquiry = scan.Inquiry(wanted, known, words.timeout, len(wanted))
            found = asyncio.run(_scan_line(words, inquiry))
    except ValueError as error:
        return complain(f"machikoba agent scan: {error}", WRONG_USE)
    except Disconnected as error:
        return complain(f"machikoba agent scan: {error}", FAILED)
    return _show_found(words, found)


async def _scan_network(
    words: argparse.Namespace, hosts: Sequence[str], inquiry: scan.Inquiry
) -> list[FoundDevice]:
    bar = Bar("knocking")
    open_hosts = await scan.open_hosts(hosts, words.port, words.timeout, bar.tell)
    found = await _ask_hosts(open_hosts, words.port, inquiry)
    for host in await scan.open_hosts(hosts, OPCUA_PORT, words.timeout, Bar("OPC UA").tell):
        found.append(FoundDevice({"url": f"opc.tcp://{host}:{OPCUA_PORT}"}, "opcua"))
    return found


async def _ask_hosts(hosts: Sequence[str], port: int, inquiry: scan.Inquiry) -> list[FoundDevice]:
    """Ask several devices at the same time; each still hears one question after the other."""
    bar, gate, done = Bar("asking"), asyncio.Semaphore(ASKED_AT_ONCE), 0

    async def ask(host: str) -> list[FoundDevice]:
        nonlocal done
        async with gate:
            found = await _ask_host(host, port, inquiry)
        done += 1
        bar.tell(done, len(hosts))
        return found

    return [device for found in await asyncio.gather(*map(ask, hosts)) for device in found]


async def _ask_host(host: str, port: int, inquiry: scan.Inquiry) -> list[FoundDevice]:
    way: dict[str, object] = {"tcp": str(Endpoint(host, port))}
    try:
        async with enquiring(over_tcp(host, port), CONNECT_S) as line:
            found = await _ask_units(line, inquiry, way)
    except Disconnected:
        return []
    # A device with an address of its own answers to every id it is asked by: tell it once.
    return found[:1] if inquiry.units == scan.units(LONE_UNITS) else found


async def _scan_line(words: argparse.Namespace, inquiry: scan.Inquiry) -> list[FoundDevice]:
    for settings in _line_settings(words):
        way: dict[str, object] = {
            "serial": settings.port,
            "baud": settings.baud,
            "parity": settings.parity,
        }
        bar = Bar(f"{settings.baud} baud, parity {settings.parity}")
        async with enquiring(over_serial(settings), CONNECT_S) as line:
            found = await _ask_units(line, inquiry, way, bar.tell)
        if found:
            return found  # one line has one speed
    return []


def _line_settings(words: argparse.Namespace) -> list[SerialSettings]:
    bauds = [int(text) for text in words.baud.split(",")]
    parities = words.parity.upper().split(",")
    if not {*parities} <= {"N", "E", "O"} or not all(300 <= baud <= 921_600 for baud in bauds):  # noqa: PLR2004 (what serial ports can do)
        raise ValueError("give speeds of 300 to 921600 and parities of N, E, O")
    return [SerialSettings(words.port, baud, parity) for baud in bauds for parity in parities]


async def _ask_units(
    line: Enquiry,
    inquiry: scan.Inquiry,
    way: dict[str, object],
    told: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[FoundDevice]:
    found = []
    done = 0
    async for device_id, unit in scan.find_units(line, inquiry):
        done += 1
        told(done, len(inquiry.units))
        if unit is not None:
            way_there = {**way, "device_id": device_id}
            found.append(FoundDevice(way_there, "modbus", unit.profiles, unit.said))
    return found


def _show_found(words: argparse.Namespace, found: Sequence[FoundDevice]) -> int:
    if words.json:
        told = [
            {
                "protocol": one.protocol,
                **one.way,
                "profiles": one.profiles,
                "says": one.said or None,
            }
            for one in found
        ]
        say(json.dumps(told, ensure_ascii=False))
    elif found:
        rows = [(*_place(one), one.said or "nothing") for one in found]
        table(("answers at", "profile", "says of itself"), rows)
    else:
        say("nobody answers. Is the address right, and is Modbus switched on in the device?")
    if words.write is not None and found:
        text = starting_file("my-workshop", "line-1", "mqtt://127.0.0.1:1883", found)
        return _write_new(words.write, text)
    return GOOD if found else FAILED


def _place(device: FoundDevice) -> tuple[str, str]:
    way = " ".join(str(value) for value in device.way.values())
    return way, " or ".join(device.profiles) or "not known"


def _init(words: argparse.Namespace) -> int:
    return _write_new(words.out, starting_file(words.site, words.agent, words.broker))


def _write_new(path: Path, text: str) -> int:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return complain(f"{path} is there already. Name another with --out or --write", WRONG_USE)
    except OSError as error:
        return complain(f"{path} cannot be written ({error.strerror})", WRONG_USE)
    say(f"wrote {path}. Next: machikoba agent check --config {path}")
    return GOOD


def _probe(words: argparse.Namespace) -> int:
    try:
        register = parse_register(words.register)
        display = None if words.display is None else Decimal(words.display)
        line = _line(words)
    except (MistakeError, InvalidOperation, ValueError) as error:
        return complain(f"machikoba agent probe: {error}", WRONG_USE)
    if register.table.bits or not 1 <= words.count <= WORDS_MAX or not _is_finite(display):
        return complain(
            f'probe shows 1 to {WORDS_MAX} registers of a table of words, e.g. "holding 100"; '
            "a display shows a number, e.g. --display 231.4",
            WRONG_USE,
        )
    try:
        data = asyncio.run(_words(line, words, register))
    except (Disconnected, GarbledError, TimeoutError) as error:
        return complain(
            f"{line.name} device {words.device_id}: {str(error) or 'no answer'}", FAILED
        )
    if isinstance(data, Refusal):
        return complain(_refused(data, words), FAILED)
    if words.json:
        _tell_words(Table(register.table), register.address, data, display)
    else:
        _show_words(Table(register.table), register.address, data, display)
    return GOOD


def _is_finite(display: Decimal | None) -> bool:
    return display is None or display.is_finite()


def _line(words: argparse.Namespace) -> ModbusTransport:
    if words.serial is not None:
        return over_serial(SerialSettings(words.serial, words.baud, words.parity))
    endpoint = parse_endpoint(words.tcp or words.rtu_tcp)
    make = over_tcp if words.tcp else rtu_over_tcp
    return make(endpoint.host, endpoint.port)


async def _words(
    line: ModbusTransport, words: argparse.Namespace, register: Register
) -> bytes | Refusal:
    block = Block(Table(register.table), register.address, words.count, 1_000, ())
    async with enquiring(line, CONNECT_S) as enquiry:
        return await enquiry.read(words.device_id, block, words.timeout)


def _refused(refusal: Refusal, words: argparse.Namespace) -> str:
    said = {1: "it does not know this table", 2: "an address in this block does not exist"}
    why = said.get(refusal.code, f"exception {refusal.code}")
    return f"device {words.device_id} refuses: {why}. Try another table, or fewer with --count"


def _tell_words(of: Table, address: int, data: bytes, display: Decimal | None) -> None:
    found = probe.meanings(of, address, data)
    likely = [] if display is None else probe.matches(found, display)
    told = {
        "address": address,
        "words": [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)],
        "matches": [
            {"value": float(one.value), "settings": one.meaning.written(one.scale)}
            for one in likely
        ],
    }
    say(json.dumps(told, ensure_ascii=False))


def _show_words(of: Table, address: int, data: bytes, display: Decimal | None) -> None:
    found = probe.meanings(of, address, data)
    table(("address", "hex", "uint16", "int16", "bits", "text"), probe.word_rows(address, data))
    kinds = (Kind.UINT32, Kind.INT32, Kind.FLOAT32, Kind.FLOAT64)
    say("\nas two or four registers; columns are word and byte orders, ABCD is big/big:")
    table(("address", "type", *probe.LETTERS.values()), probe.order_rows(found, kinds))
    if display is None:
        say("\nsay what the display shows, and the likely meaning is named: --display 231.4")
        return
    likely = probe.matches(found, display)
    if not likely:
        say(f"\nnothing here means {display}. Try other addresses: many manuals count from 1")
        return
    say(f"\nwhat could mean {display}, the likeliest first:")
    rows = [(f"{one.value.normalize():f}"[:14], one.meaning.written(one.scale)) for one in likely]
    table(("value", "settings of the signal"), rows)


def _browse(words: argparse.Namespace) -> int:
    # Imported here: this library is large, and the other commands do without it.
    from edge_agents.drivers.opcua_browse import browse  # noqa: PLC0415

    server = Server(words.url, (), timeout_s=BROWSE_TIMEOUT_S)
    if words.config is not None:
        server = opcua_server(strict(words.config), words.url) or server
    reach = Reach(words.depth, under=words.under, server_too=words.all)
    text = (words.search or "").lower()

    async def walk() -> list[FoundNode]:
        return [
            one
            async for one in browse(server, reach)
            if text in "/".join(one.path).lower() or text in one.node.lower()
        ]

    try:
        found = asyncio.run(walk())
    except BrowseError as error:
        return complain(f"machikoba agent browse: {error}", FAILED)
    if words.json:
        say(json.dumps([asdict(one) for one in found], ensure_ascii=False))
    else:
        _show_tree(found, whole=not text)
    return GOOD if found else FAILED


def _show_tree(found: Sequence[FoundNode], *, whole: bool) -> None:
    """Lay out what was found, indented when it is all of the tree, with whole paths otherwise."""
    rows = []
    for one in found:
        name = "  " * (len(one.path) - 1) + one.path[-1] if whole else "/".join(one.path)
        value = one.shown if one.readable else "(not readable)"
        rows.append((name, one.type, value if one.variable else "", one.node))
    table(("name", "type", "value", "node"), rows)
    values = [one for one in found if one.variable and one.readable]
    own = [one for one in values if one.node.startswith("nsu=")]
    for first in (own or values)[:1]:
        say(f"\nas a signal:\n  {_signal_name(first)}: {{node: {json.dumps(first.node)}}}")


def _signal_name(node: FoundNode) -> str:
    name = "".join(sign if sign.isalnum() and sign.isascii() else "_" for sign in node.path[-1])
    return name.strip("_").lower() or "signal"


def _join(words: argparse.Namespace) -> int:
    settings_file = words.folder / "edge.yaml"
    try:
        grant = _by_hand(words) if words.by_hand else _by_code(words)
        wanted = join.files(grant, words.folder, settings_file)
        join.write(wanted)
    except (join.JoinError, ValueError) as error:
        return complain(f"machikoba agent join: {error}", FAILED)
    for one in wanted:
        say(f"wrote {one.path} (mode {one.mode:o})")
    if all(one.path != settings_file for one in wanted):
        say(f"{settings_file} is there already and was left alone. Its broker: {grant.broker.url}")
    say(f"{grant.site}/{grant.agent} may now speak to {grant.broker.url}. Next: "
         f"machikoba agent check --config {settings_file}")  # fmt: skip
    return GOOD


def _by_code(words: argparse.Namespace) -> join.Grant:
    if words.hub is None:
        raise join.JoinError("name the hub with --hub https://…, or join --by-hand")
    # Asked for rather than written, it stays out of the shell's history.
    code = words.code or getpass.getpass("one-time code: ")
    return join.redeem(words.hub, code, words.agent, words.ca_file)


def _by_hand(words: argparse.Namespace) -> join.Grant:
    if not words.site or not words.broker:
        raise join.JoinError("by hand needs --site and --broker")
    password = getpass.getpass(f"password of {words.site} at {words.broker}: ")
    ca_pem = words.ca_file.read_text(encoding="ascii") if words.ca_file else None
    broker = join.Grant.Broker(
        url=words.broker, username=words.site, password=password, ca_pem=ca_pem
    )
    return join.Grant(site=words.site, agent=words.agent, broker=broker)
