"""Who answers on a line: units found by asking politely, named by what they say of themselves.

Only reads are sent: one register, the device identification, and the registers by which profiles
know their devices. One question is under way at a time, with a pause between, so that a machine
that is working hardly notices.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_agents.config import parse_register, parse_type
from edge_agents.drivers.decoder import Decoder, GarbledError
from edge_agents.drivers.enquiry import Enquiry
from edge_agents.drivers.frames import Refusal
from edge_agents.drivers.line import GATEWAY_SILENT, Disconnected
from edge_agents.drivers.registers import Kind, RegisterSignal, Table, block_of
from edge_agents.profiles import Profile
from edge_agents.profiles.library import Identity
from gateway.model import Value

HOSTS_MAX: Final = 1024
"""A /22; larger networks are nobody's workshop."""
HOSTS_AT_ONCE: Final = 32
UNIT_MAX: Final = 255
PAUSE_S: Final = 0.02
SILENT_UNITS_MAX: Final = 3
"""Time-outs in a row after which a TCP device is not asked for further units."""
FIRST_REGISTERS: Final = (Table.HOLDING, Table.INPUT)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that answered, what it says of itself, and the profiles that fit it."""

    device_id: int
    identity: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What it says of itself, in one line."""
        return " ".join(self.identity.values())


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Whom to ask on a line, what for, and how patiently."""

    units: Sequence[int]
    profiles: Sequence[Profile]
    timeout_s: float
    silent_max: int
    """Silent units in a row after which no further one is asked."""


def hosts(text: str) -> list[str]:
    """Read ``192.168.10.0/28``, one address or one name as the hosts to be asked.

    Raises:
        ValueError: it is none of them, or larger than a /22.
    """
    if "/" not in text:
        return [text]
    network = ipaddress.ip_network(text, strict=False)
    if network.num_addresses > HOSTS_MAX:
        raise ValueError(f"{text} has {network.num_addresses} addresses; at most {HOSTS_MAX}")
    found = [str(address) for address in network.hosts()]
    return found or [str(network.network_address)]


def units(text: str) -> list[int]:
    """Read ``1``, ``1,2,5`` or ``1-247`` as device ids.

    Raises:
        ValueError: it is none of them, or an id lies outside 0 to 255.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last) if dash else int(first)
        if not 0 <= begin <= end <= UNIT_MAX:
            raise ValueError(f"{part} is not within 0 to {UNIT_MAX}")
        found.extend(range(begin, end + 1))
    return list(dict.fromkeys(found))


async def open_hosts(
    wanted: Sequence[str], port: int, timeout_s: float, told: Callable[[int, int], None]
) -> list[str]:
    """Find the hosts that accept connections on a port; `told` hears how many are done."""
    gate = asyncio.Semaphore(HOSTS_AT_ONCE)
    done = 0

    async def knock(host: str) -> str | None:
        nonlocal done
        async with gate:
            found = await _accepts(host, port, timeout_s)
        done += 1
        told(done, len(wanted))
        return host if found else None

    answers = await asyncio.gather(*map(knock, wanted))
    return [host for host in answers if host is not None]


async def _accepts(host: str, port: int, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def find_units(line: Enquiry, inquiry: Inquiry) -> AsyncIterator[tuple[int, Unit | None]]:
    """Ask unit after unit; yields each device id with what was found there.

    Ends early after so many silent units in a row as the inquiry says. Raises Disconnected when
    the line cannot be opened again.
    """
    silent = 0
    for device_id in inquiry.units:
        there = await _is_there(line, device_id, inquiry.timeout_s)
        silent = 0 if there else silent + 1
        yield device_id, await _known(line, device_id, inquiry) if there else None
        if silent >= inquiry.silent_max:
            return
        await asyncio.sleep(PAUSE_S)


async def _is_there(line: Enquiry, device_id: int, timeout_s: float) -> bool:
    """Ask for one register; a refusal is an answer too, unless a gateway gives it."""
    block = block_of([RegisterSignal("first", FIRST_REGISTERS[0], 0)])
    try:
        answer = await line.read(device_id, block, timeout_s)
    except TimeoutError:
        return False
    except GarbledError:
        return True
    except Disconnected:  # some devices hang up on ids that they do not know
        return False
    return not (isinstance(answer, Refusal) and answer.code in GATEWAY_SILENT)


async def _known(line: Enquiry, device_id: int, inquiry: Inquiry) -> Unit:
    """Learn who it is; old devices fall silent at questions that they do not know."""
    identity: Mapping[str, str] = {}
    fit: tuple[str, ...] = ()
    with contextlib.suppress(Disconnected):
        identity = await line.identify(device_id, inquiry.timeout_s)
    with contextlib.suppress(Disconnected, TimeoutError):
        fit = await fitting(line, device_id, inquiry.profiles, inquiry.timeout_s)
    return Unit(device_id, identity, fit)


async def fitting(
    line: Enquiry, device_id: int, profiles: Sequence[Profile], timeout_s: float
) -> tuple[str, ...]:
    """Name the profiles all of whose marks the unit bears; devices of one maker may be alike.

    Raises Disconnected or TimeoutError.
    """
    fit = []
    for profile in profiles:
        for mark in profile.identify:
            if not await _bears(line, device_id, mark, timeout_s):
                break
        else:
            fit += [profile.slug] if profile.identify else []
    return tuple(fit)


async def _bears(line: Enquiry, device_id: int, mark: Identity, timeout_s: float) -> bool:
    signal = _signal(mark)
    block = block_of([signal])
    await asyncio.sleep(PAUSE_S)
    try:
        answer = await line.read(device_id, block, timeout_s)
    except GarbledError:
        return False
    if isinstance(answer, Refusal):
        return False
    try:
        return fits(mark, Decoder(block).decode(answer, 0)[0].value)
    except GarbledError:
        return False


def fits(mark: Identity, value: Value) -> bool:
    """Tell whether a value is the mark of a device."""
    if value is None:
        return False
    if isinstance(mark.is_, str):
        return isinstance(value, str) and value.startswith(mark.is_)
    if mark.is_ is not None:
        return value == mark.is_
    if mark.between is None or isinstance(value, str):
        return False
    return mark.between[0] <= value <= mark.between[1]


def _signal(mark: Identity) -> RegisterSignal:
    register = parse_register(mark.register_)
    return RegisterSignal(
        "mark",
        Table(register.table),
        register.address,
        Kind(parse_type(mark.type)),
        bit=register.bit,
        length_bytes=mark.length or 0,
    )
