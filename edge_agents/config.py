"""What a factory writes: the agent's YAML as frozen models, validated without any I/O.

Every value is turned into the form the program works with (durations into milliseconds, registers
into table and address), so that no other module parses configuration. Attributes ending in ``_ms``
or ``_s`` stand under the bare word in the file: ``every: 1s`` is `SignalConfig.every_ms`.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    InstanceOf,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.model import EDGE_STATES, ID_PATTERN, SIGNAL_PATTERN, State
from gateway.settings import MistakeError
from gateway.states import (
    Comparison,
    Constant,
    Expression,
    ExpressionError,
    Junction,
    Negation,
    Rule,
    Signal,
    parse,
    signals,
)

MODBUS_PORT: Final = 502
MQTT_PORT: Final = 1883
MQTTS_PORT: Final = 8883
REGISTERS_MAX: Final = 65_536
"""Addresses of one Modbus table (Modbus Application Protocol 1.1b3, section 4.4)."""
READ_WORDS_MAX: Final = 125
"""Registers in one read (Modbus Application Protocol 1.1b3, section 6.3)."""
STRING_BYTES_MAX: Final = 2 * READ_WORDS_MAX
MACHINES_MAX: Final = 1_000
SIGNALS_MAX: Final = 2_000
RULES_MAX: Final = 64
CYCLE_TIME: Final = "cycle_time_s"
"""The signal that tells the time between good parts, in seconds."""
OUTBOX_BYTES_MIN: Final = 4 * 1024**2
DURATION_MS_MAX: Final = 366 * 86_400_000

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|min|m|h|d)", re.ASCII)
_UNITS_MS: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}
_SIZE: Final = re.compile(r"(\d{1,12})\s*(B|KiB|MiB|GiB)", re.ASCII)
_SIZE_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_REGISTER: Final = re.compile(
    r"(?P<table>[A-Za-z]+)\s+(?P<address>0x[0-9A-Fa-f]{1,4}|\d{1,6})(?:\.(?P<bit>\d{1,2}))?",
    re.ASCII,
)
_ONE_BASED: Final = re.compile(r"(?P<table>[0134])(?:x?(?P<number>\d{4,5}))", re.ASCII)
_ONE_BASED_TABLES: Final = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_ONE_BASED_FIRST: Final = {"discrete": 10_001, "input": 30_001, "holding": 40_001}
_NODE_ID: Final = re.compile(
    r"(?:(?:nsu=[^;]+|ns=\d{1,5});)?(?:i=\d{1,10}|[sgb]=.+)|path=[^/].{0,400}", re.ASCII
)
BAUD_RATES: Final = (
    300, 600, 1_200, 2_400, 4_800, 9_600, 14_400, 19_200, 28_800, 38_400, 57_600, 76_800, 115_200,
    187_500, 230_400, 250_000, 460_800, 500_000, 576_000, 921_600, 1_000_000,
)  # fmt: skip
"""What serial devices offer; another number is a slip of the pen."""
UNITS: Final = range(1, 248)
"""Device ids on a serial line (Modbus over Serial Line 1.02, section 2.2)."""
_PARITIES: Final = {
    "n": "N", "no": "N", "none": "N", "e": "E", "even": "E", "o": "O", "odd": "O",
}  # fmt: skip
_ENCODINGS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "ascii": "ascii",
    "shift-jis": "shift_jis",
    "sjis": "shift_jis",
    "cp932": "cp932",
    "windows-31j": "cp932",
    "ms932": "cp932",
}
_PATH_STEP: Final = re.compile(r"\[(\d{1,5})\]|\.?([^\W\d]\w{0,127})")
_PATH: Final = re.compile(r"(?:\[\d{1,5}\]|[^\W\d]\w{0,127})(?:\[\d{1,5}\]|\.[^\W\d]\w{0,127})*")
PATH_STEPS_MAX: Final = 8
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%", re.ASCII)
_RESERVED: Final = "Machikoba/"


class Table(StrEnum):
    """The four Modbus tables, by the words of the configuration."""

    COIL = "coil"
    DISCRETE = "discrete"
    INPUT = "input"
    HOLDING = "holding"

    @property
    def bits(self) -> bool:
        """Whether the table holds single bits rather than words of 16 bits."""
        return self in {Table.COIL, Table.DISCRETE}


@dataclass(frozen=True, slots=True)
class Register:
    """Where a value begins: table, protocol address (counted from 0) and, maybe, one bit of it."""

    table: Table
    address: int
    bit: int | None = None

    def __str__(self) -> str:
        """Write it as the configuration does."""
        return f"{self.table} {self.address}" + ("" if self.bit is None else f".{self.bit}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and its TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as ``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Deadband:
    """How far a value must move from the last one sent: an absolute step, or percent of that."""

    absolute: float = 0.0
    percent: float = 0.0

    def lets_through(self, sent: float, value: float) -> bool:
        """Tell whether the step from `sent` to `value` is worth telling."""
        if self.percent > 0.0:
            return abs(value - sent) > abs(sent) * self.percent / 100.0
        return abs(value - sent) > self.absolute


class SignalType(StrEnum):
    """How the machine encodes a value."""

    BOOL = "bool"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    BCD16 = "bcd16"
    BCD32 = "bcd32"
    BCD64 = "bcd64"
    STRING = "string"

    @property
    def words(self) -> int:
        """Registers of 16 bits that one value fills; strings say it by their own length."""
        bits = re.search(r"\d+$", self)
        return max(1, int(bits.group()) // 16) if bits else 1

    @property
    def counts_to(self) -> int | None:
        """How many different counts it holds; None for what no machine counts with."""
        bits = int((re.search(r"\d+$", self) or ["0"])[0])
        if self.startswith("uint"):
            return 1 << bits
        return 10 ** (bits // 4) if self.startswith("bcd") else None


_TYPE_SYNONYMS: Final = {
    "boolean": SignalType.BOOL,
    "bit": SignalType.BOOL,
    "float": SignalType.FLOAT32,
    "real": SignalType.FLOAT32,
    "single": SignalType.FLOAT32,
    "double": SignalType.FLOAT64,
    "lreal": SignalType.FLOAT64,
    "short": SignalType.INT16,
    "int": SignalType.INT16,
    "integer": SignalType.INT16,
    "dint": SignalType.INT32,
    "lint": SignalType.INT64,
    "word": SignalType.UINT16,
    "uint": SignalType.UINT16,
    "dword": SignalType.UINT32,
    "udint": SignalType.UINT32,
    "long": SignalType.INT32,
    "str": SignalType.STRING,
    "text": SignalType.STRING,
    "bcd": SignalType.BCD16,
}


def parse_duration(value: Any) -> int:
    """Read ``500ms``, ``1s``, ``1.5h``, ``30d`` as whole milliseconds."""
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        near = f"{value}s" if isinstance(value, int | float) and value is not True else "1s"
        raise MistakeError(
            f"{_shown(value)} is no duration", f"Give number and unit, e.g. {near}, 500ms, 5m"
        )
    duration_ms = round(float(found[1]) * _UNITS_MS[found[2]])
    if duration_ms > DURATION_MS_MAX:
        raise MistakeError(f"{value} is longer than a year", "Give a shorter duration")
    return duration_ms


def _duration(least_ms: int, most_ms: int = DURATION_MS_MAX) -> Callable[[Any], int]:
    def parse_within(value: Any) -> int:
        duration_ms = parse_duration(value)
        if not least_ms <= duration_ms <= most_ms:
            bounds = f"Give {_written_ms(least_ms)} to {_written_ms(most_ms)}"
            way = "short" if duration_ms < least_ms else "long"
            raise MistakeError(f"{value} is too {way}", bounds)
        return duration_ms

    return parse_within


def _written_ms(duration_ms: int) -> str:
    if duration_ms == 0:
        return "0s"
    units = ((one, size) for one, size in reversed(_UNITS_MS.items()) if one != "min")
    unit, size = next((one, size) for one, size in units if duration_ms % size == 0)
    return f"{duration_ms // size}{unit}"


def parse_size(value: Any) -> int:
    """Read ``512MiB`` or a bare number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise MistakeError(f"{_shown(value)} is no size", "Give number and unit, e.g. 512MiB")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def _outbox_size(value: Any) -> int:
    size = parse_size(value)
    if size < OUTBOX_BYTES_MIN:
        raise MistakeError(
            f"{value} is too small", f"Give at least {OUTBOX_BYTES_MIN // 1024**2}MiB"
        )
    return size


def parse_register(value: Any) -> Register:
    """Read ``input 30``, ``holding 5.3`` or ``coil 0x1F``; addresses count from 0."""
    if isinstance(value, Register):
        return value
    text = str(value).strip()
    found = _REGISTER.fullmatch(text)
    if found is None:
        raise _no_register(text)
    table = _table(found["table"])
    hexadecimal = found["address"].lower().startswith("0x")
    address = int(found["address"], 16 if hexadecimal else 10)
    first = _ONE_BASED_FIRST.get(table)
    if first is not None and not hexadecimal:
        _refuse_one_based(text, table, address, first)
    if address >= REGISTERS_MAX:
        raise MistakeError(f"address {address} is beyond 65535", "Give an address of 0…65535")
    return Register(table, address, _bit(found["bit"], table))


def _table(word: str) -> Table:
    try:
        return Table(word.lower())
    except ValueError:
        near = difflib.get_close_matches(word.lower(), list(Table), n=1, cutoff=0.4)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        raise MistakeError(
            f"{word!r} is no Modbus table", f"{hint}Use input, holding, coil or discrete"
        ) from None


def _bit(text: str | None, table: Table) -> int | None:
    if text is None:
        return None
    if table.bits:
        raise MistakeError(f"a {table} is one bit already", f"Leave .{text} out")
    if int(text) > 15:  # noqa: PLR2004 (the highest bit of a word of 16)
        raise MistakeError(f"bit {text} is beyond the word", "Give a bit of 0…15, 0 is the lowest")
    return int(text)


def _refuse_one_based(text: str, table: Table, address: int, first: int) -> None:
    """Refuse ``holding 40001``: read literally it would silently give another register."""
    for beginning, last in ((first, first + 9_998), ((first - 1) * 10 + 1, first * 10 + 65_526)):
        if beginning <= address <= last:
            literally = (
                f" If the address on the wire really is {address}, write `{table} 0x{address:X}`"
            )
            raise MistakeError(
                f"{text!r} looks like the notation that counts from {beginning}",
                f"Did you mean `{table} {address - beginning}`?"
                + (literally if address < REGISTERS_MAX else ""),
            )


def _no_register(text: str) -> MistakeError:
    found = _ONE_BASED.fullmatch(text)
    if found is None:
        return MistakeError(
            f"{text!r} is no register",
            "Write table and address, e.g. input 30, holding 5.3, coil 7",
        )
    meant = f"{_ONE_BASED_TABLES[found['table']]} {max(0, int(found['number']) - 1)}"
    return MistakeError(
        f"{text!r} is notation that counts from 1",
        f"Did you mean `{meant}`? Addresses count from 0",
    )


def parse_type(value: Any) -> SignalType:
    """Read a type's name; a name from another product is answered with ours."""
    text = str(value)
    try:
        return SignalType(text)
    except ValueError:
        synonym = _TYPE_SYNONYMS.get(text.lower())
        near = difflib.get_close_matches(text.lower(), list(SignalType), n=1)
        meant = synonym or (near[0] if near else None)
        hint = f"Did you mean `{meant}`? " if meant else ""
        known = ", ".join(SignalType)
        raise MistakeError(f"{text!r} is no type", f"{hint}Known types: {known}") from None


def parse_endpoint(value: Any) -> Endpoint:
    """Read ``host``, ``host:port`` or ``[ipv6]:port``; the port is 502 unless given."""
    if isinstance(value, Endpoint):
        return value
    remedy = "Write host or host:port, e.g. 192.168.10.21 or 192.168.10.21:1502"
    text = str(value).strip()
    if "/" in text or not text or any(letter.isspace() for letter in text):
        raise MistakeError(f"{text!r} is no address", remedy)
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise MistakeError(f"{text!r} is no address", remedy) from None
    if not host or parts.username is not None or port == 0:
        raise MistakeError(f"{text!r} is no address", remedy)
    return Endpoint(host, MODBUS_PORT if port is None else port)


def parse_deadband(value: Any) -> Deadband:
    """Read a step in the signal's unit (``5``) or in percent of the last value sent (``2%``)."""
    if isinstance(value, Deadband):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return Deadband(absolute=float(value))
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or float(found[1]) > 100:  # noqa: PLR2004 (percent)
        raise MistakeError(
            f"{_shown(value)} is no deadband", "Give a step of 0 or more, or percent, e.g. 5 or 2%"
        )
    return Deadband(percent=float(found[1]))


def parse_url(value: Any) -> str:
    """Check the broker's address: ``mqtt://host[:1883]`` or ``mqtts://host[:8883]``."""
    return _checked_url(str(value), ("mqtt", "mqtts"), "mqtts://hub.example:8883")


def parse_opcua_url(value: Any) -> str:
    """Check an OPC UA endpoint: ``opc.tcp://host[:4840][/path]``."""
    return _checked_url(str(value), ("opc.tcp",), "opc.tcp://192.168.10.40:4840")


def _checked_url(text: str, schemes: Sequence[str], example: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable or any(letter.isspace() for letter in text):
        raise MistakeError(f"{text!r} is no address of this kind", f"Write it like {example}")
    if parts.username is not None or parts.password is not None:
        raise MistakeError(
            "the address holds a user name", "Use the keys for user and password_file"
        )
    return text


def parse_node(value: Any) -> str:
    """Check the form of an OPC UA node id (part 6, section 5.3.1.10), or of a path of names."""
    text = str(value).strip()
    if _NODE_ID.fullmatch(text) is None:
        raise MistakeError(
            f"{text!r} is no node id", 'Write it like "nsu=http://maker.example/UA;s=Robot.State"'
        )
    return text


def parse_path(value: Any) -> tuple[int | str, ...]:
    """Read the way to an element: ``[2]``, ``Pose.X``, ``Axes[0].Load``; indices count from 0."""
    if isinstance(value, tuple):
        return value
    text = str(value).strip()
    steps = _PATH_STEP.findall(text)
    if _PATH.fullmatch(text) is None or len(steps) > PATH_STEPS_MAX:
        raise MistakeError(
            f"{_shown(text)} is no path into a value",
            'Write an index from 0 in brackets, or names of fields: "[2]", Pose.X, "Axes[0].Load"',
        )
    return tuple(int(index) if index else name for index, name in steps)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004 (part of a line)


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _check_id(value: Any) -> str:
    text = str(value)
    if ID_PATTERN.fullmatch(text) is None:
        slug = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:48]
        hint = f"Did you mean `{slug}`? " if slug else ""
        raise MistakeError(
            f"{_shown(value)} is no id", f"{hint}Use 1…48 of a-z, 0-9 and the hyphen"
        )
    return text


def _check_policy(value: Any) -> Any:
    if value not in get_args(Policy):
        raise MistakeError(
            f"{_shown(value)} is no security policy that is safe",
            f"Use {', '.join(get_args(Policy)[:-1])}; `none` must be written to go without",
        )
    return value


def _check_port(value: Any) -> str:
    text = str(value).strip()
    if not text or any(letter.isspace() for letter in text) or not text.isprintable():
        raise MistakeError(
            f"{_shown(value)} is no serial port",
            "Give its path, e.g. /dev/serial/by-id/usb-…, /dev/ttyUSB0 or COM3",
        )
    return text


def _check_baud(value: Any) -> int:
    if value in BAUD_RATES and not isinstance(value, bool):
        return int(value)
    hint = ""
    if isinstance(value, int):
        hint = f"Did you mean {min(BAUD_RATES, key=lambda rate: abs(rate - value))}? "
    raise MistakeError(
        f"{_shown(value)} is no baud rate that serial lines use",
        f"{hint}Usual are 9600 and 19200",
    )


def _check_parity(value: Any) -> str:
    parity = _PARITIES.get(str(value).lower())
    if parity is None:
        raise MistakeError(f"{_shown(value)} is no parity", "Use N (none), E (even) or O (odd)")
    return parity


def _check_encoding(value: Any) -> str:
    text = str(value).lower()
    encoding = _ENCODINGS.get(text.replace("_", "-"))
    if encoding is None:
        known = ", ".join(dict.fromkeys(_ENCODINGS.values()))
        near = difflib.get_close_matches(text, list(_ENCODINGS), n=1)
        hint = f"Did you mean `{_ENCODINGS[near[0]]}`? " if near else ""
        raise MistakeError(f"{_shown(value)} is no encoding of texts", f"{hint}Use {known}")
    return encoding


DurationMs = Annotated[int, BeforeValidator(parse_duration)]
PositiveMs = Annotated[int, BeforeValidator(_duration(1))]
PeriodMs = Annotated[int, BeforeValidator(_duration(20, 86_400_000))]
TimeoutMs = Annotated[int, BeforeValidator(_duration(50, 60_000))]
PromiseMs = Annotated[int, BeforeValidator(_duration(1_000, 86_400_000))]
PauseMs = Annotated[int, BeforeValidator(_duration(0, 10_000))]
CommitMs = Annotated[int, BeforeValidator(_duration(0, 10_000))]
Identifier = Annotated[str, BeforeValidator(_check_id)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Order = Literal["big", "little"]
Policy = Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss", "none"]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    """What all models here share: unknown keys are mistakes, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


ModelT = TypeVar("ModelT", bound=_Model)


class Names(_Model):
    """A name for people, in English and Japanese; one of them is enough."""

    en: Words | None = None
    """In English."""
    ja: Words | None = None
    """In Japanese."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.en is None and self.ja is None:
            raise MistakeError("holds no name", "Give `en:`, `ja:` or both")
        return self

    def as_dict(self) -> dict[str, str]:
        """Give both languages, the missing one filled from the other."""
        return {"en": self.en or self.ja or "", "ja": self.ja or self.en or ""}


class CounterConfig(_Model):
    """How a counter begins anew, so that a roll-over can be told from a reset."""

    width: Annotated[int, Field(ge=4, le=64)] | None = None
    """Bits that it counts with; unset: those of its type."""
    rolls_over_at: Annotated[int, Field(ge=2, le=2**64)] | None = None
    """The number that it shows as 0 again, e.g. 1000000 for six digits."""
    max_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The fastest that it can count; a larger step at a fall is a reset."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.width is not None and self.rolls_over_at is not None:
            raise MistakeError(
                "says twice where the counter rolls over", "Keep `width:` or `rolls_over_at:`"
            )
        return self


def _counter(value: Any) -> Any:
    if isinstance(value, bool):
        return CounterConfig() if value else None
    if value is None or isinstance(value, dict | CounterConfig):
        return value
    raise MistakeError(
        f"{_shown(value)} says nothing of a counter", "Write true, or e.g. {width: 16}"
    )


class SignalConfig(_Model):
    """One named quantity of a machine: where it is read, how it is decoded, when it is sent."""

    source: Annotated[InstanceOf[Register], BeforeValidator(parse_register)] | None = Field(
        None, alias="register"
    )
    """Modbus: table and address counted from 0, a bit after a dot: ``holding 5.3``.

    In the file it is ``register:``, a word that Python's classes keep for themselves.
    """
    node: Annotated[str, BeforeValidator(parse_node)] | None = None
    """OPC UA: node id, best with the namespace's URI."""
    path: Annotated[tuple[int | str, ...], BeforeValidator(parse_path)] = ()
    """OPC UA: which element of the node's array or structure, e.g. ``[2]`` or ``Pose.X``."""
    type: Annotated[InstanceOf[SignalType], BeforeValidator(parse_type)] = SignalType.FLOAT64
    """Encoding; must be given for words, is bool for coils, discretes and bits."""
    word_order: Order = "big"
    """Which of several registers comes first: the high one is `big`."""
    byte_order: Order = "big"
    """Which byte of a register comes first: the high one is `big`, as Modbus says."""
    length: Annotated[int, Field(ge=1, le=STRING_BYTES_MAX)] | None = None
    """Strings only: bytes."""
    encoding: Annotated[str, BeforeValidator(_check_encoding)] | None = None
    """Strings only: utf-8 (also for ascii), shift_jis or cp932."""
    scale: Number = 1.0
    """Value = raw * scale + offset."""
    offset: Number = 0.0
    """Value = raw * scale + offset."""
    unit: Annotated[str, StringConstraints(max_length=32)] = ""
    """What the value is counted in, as people write it."""
    every_ms: PeriodMs = Field(1_000, alias="every")
    """How often it is read."""
    deadband: Annotated[InstanceOf[Deadband], BeforeValidator(parse_deadband)] = Deadband()
    """The smallest step that is worth telling: in its unit, or in percent of the last value."""
    max_age_ms: PositiveMs = Field(30_000, alias="max_age")
    """An unchanged value is sent again when the last one sent is this old."""
    counter: Annotated[CounterConfig | None, BeforeValidator(_counter)] = None
    """Counts up; every step is sent, whatever the deadband. Says how wide it is if need be."""
    counts: Literal["good", "scrap"] | None = None
    """The counter counts good parts or scrap."""
    cycle_time: bool = False
    """Tell the time between good parts as a signal of its own, `cycle_time_s`."""
    enum: dict[int, Words] | None = None
    """Words for raw numbers; the signal becomes text."""
    invalid: Annotated[tuple[Number, ...], BeforeValidator(_one_or_many)] = ()
    """Raw numbers by which the machine says 'no value'."""
    min: Number | None = None
    """Plausible range of the scaled value; what lies outside is told as bad."""
    max: Number | None = None
    """Plausible range of the scaled value."""

    @model_validator(mode="before")
    @classmethod
    def _settle_type(cls, value: Any) -> Any:
        """Bits need no type; a word without one could be anything."""
        if not isinstance(value, dict) or value.get("type") is not None:
            return value
        try:
            register = parse_register(value["register"])
        except (KeyError, MistakeError):
            return value
        if register.table.bits or register.bit is not None:
            return {**value, "type": "bool"}
        raise MistakeError(
            f"no type is given for {register}", "Add what the register holds, e.g. type: uint16"
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for cause, remedy in self._mistakes():
            raise MistakeError(cause, remedy)
        return self

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        if (self.source is None) == (self.node is None):
            yield "needs one source", "Give either `register:` (Modbus) or `node:` (OPC UA)"
        if self.path and self.node is None:
            yield "a register has no elements", "Remove `path:`"
        yield from self._register_mistakes()
        if self.type is SignalType.STRING and self.length is None and self.source is not None:
            yield "a string needs its length", "Add `length:` in bytes, e.g. length: 16"
        if self.type is not SignalType.STRING and self.length is not None:
            yield f"the length of {self.type} is fixed", "Remove `length:`"
        if self.type is not SignalType.STRING and self.encoding is not None:
            yield f"{self.type} has no encoding", "Remove `encoding:` or write type: string"
        if self.counts is not None and self.datatype == "string":
            yield "text cannot count parts", "Remove `counts:` or give a number's type"
        yield from self._counter_mistakes()
        if self.cycle_time and self.counts != "good":
            yield "cycle times need a counter of good parts", "Add `counts: good`"
        if self.min is not None and self.max is not None and self.min > self.max:
            yield f"min {self.min:g} is above max {self.max:g}", "Exchange the two"
        if self.scale == 0.0:
            yield "scale 0 makes every value the same", "Give another scale, 1 is none"

    def _counter_mistakes(self) -> Iterator[tuple[str, str]]:
        if self.counter and self.datatype in {"string", "boolean"}:
            yield f"a {self.datatype} cannot count", "Remove `counter:` or give a number's type"
        most, rolls_over_at = self.type.counts_to, self.rolls_over_at
        if most is not None and rolls_over_at is not None and rolls_over_at > most:
            yield (
                f"{self.type} ends at {most - 1}, before the counter rolls over",
                "Correct `type:`, or the counter's `width:` or `rolls_over_at:`",
            )

    def _register_mistakes(self) -> Iterator[tuple[str, str]]:
        register = self.source
        if register is None:
            return
        single = register.table.bits or register.bit is not None
        if single and self.type is not SignalType.BOOL:
            yield f"{register} is one bit and no {self.type}", "Remove `type:` or write type: bool"
        if register.table.bits and self.words > 1:
            yield f"{register} holds one bit", "Use input or holding for larger values"
        if register.address + self.words > REGISTERS_MAX:
            end = register.address + self.words - 1
            yield f"{register} would end at {end}, beyond 65535", "Check address and type"

    @property
    def words(self) -> int:
        """Registers that one value fills."""
        return self.type.words if self.length is None else (self.length + 1) // 2

    @property
    def rolls_over_at(self) -> int | None:
        """The raw number that the counter shows as 0 again; None if it never does, or no counter.

        Unsigned and decimal counters use their whole type unless something else is said.
        """
        if not self.counter and self.counts is None:
            return None
        said = self.counter or CounterConfig()
        if said.width is not None:
            return 1 << said.width
        return said.rolls_over_at or (None if self.source is None else self.type.counts_to)

    @property
    def max_per_s(self) -> float | None:
        """The fastest that the counter can count, if that was said."""
        return None if self.counter is None else self.counter.max_per_s

    @property
    def datatype(self) -> Literal["double", "boolean", "string", "int64"]:
        """How the value travels: numbers as doubles, unless a double would lose digits."""
        if self.enum is not None or self.type is SignalType.STRING:
            return "string"
        if self.type is SignalType.BOOL:
            return "boolean"
        if self.type in {SignalType.INT64, SignalType.UINT64, SignalType.BCD64}:
            return "int64" if self.scale == 1.0 and self.offset == 0.0 else "double"
        return "double"


class StateRule(_Model):
    """One line of a machine's state rules: ``when … is …``, or ``otherwise`` at the end."""

    when: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The condition, e.g. `spindle_rpm > 50 and mode == "auto"`."""
    state: State | None = Field(None, alias="is")
    """The state that it means."""
    reason: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    """Why, in a word of your own: a-z, 0-9 and the hyphen."""
    hold_ms: DurationMs = Field(0, alias="hold")
    """The condition counts once it has been true for this long."""
    release_ms: DurationMs = Field(0, alias="release")
    """The rule goes on to count for this long after its condition ended."""
    until: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The rule goes on to count until this is true, so that a noisy value does not flicker."""
    otherwise: State | None = None
    """The state when no condition holds; only in the last rule."""

    @field_validator("when", "until")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse(value)
            except ExpressionError as error:
                cause = f"column {error.column} of {value!r}: {error.cause}"
                raise MistakeError(cause, error.remedy) from None
        return value

    @field_validator("state", "otherwise", mode="before")
    @classmethod
    def _known_state(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and value in EDGE_STATES):
            return value
        near = difflib.get_close_matches(str(value), sorted(EDGE_STATES), n=1)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        known = ", ".join(state for state in State if state in EDGE_STATES)
        raise MistakeError(f"{_shown(value)} is no state", f"{hint}Known states: {known}")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.otherwise is not None:
            others = (self.when, self.until, self.state)
            if any(one is not None for one in others) or self.hold_ms or self.release_ms:
                raise MistakeError("mixes `otherwise` with a condition", "Make two rules of it")
        elif self.when is None or self.state is None:
            raise MistakeError(
                "is no complete rule", "Write {when: condition, is: state} or {otherwise: state}"
            )
        return self

    def rule(self) -> Rule:
        """Give the rule in the form that is judged by."""
        if self.otherwise is not None:
            return Rule(None, self.otherwise, self.reason or "")
        condition = parse(self.when or "")
        state = self.state or State.UNKNOWN
        until = None if self.until is None else parse(self.until)
        return Rule(condition, state, self.reason or "", self.hold_ms, self.release_ms, until)


class PowerStates(_Model):
    """Off, idle and running told from electric power alone, where nothing else can be read.

    The thresholds depend on the machine, so none is guessed: watch its power over a day of work.
    """

    signal: Words
    """The signal that tells the power, in the unit of the thresholds."""
    off_below: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Below this power the machine is off."""
    running_above: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Above this power it runs; in between it is idle."""
    hysteresis: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """How far the power must come back over a threshold for the state to end."""
    hold_ms: DurationMs = Field(5_000, alias="hold")
    """How long the power must be beyond a threshold for the state to begin or to end."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.off_below + self.hysteresis > self.running_above - self.hysteresis:
            raise MistakeError(
                f"off ends at {self.off_below + self.hysteresis:g}, above"
                f" {self.running_above - self.hysteresis:g} where running ends",
                "Raise `running_above:`, or lower `off_below:` or `hysteresis:`",
            )
        return self

    def rules(self) -> tuple[Rule, ...]:
        """Give the three rules in the form that is judged by."""
        power, hold_ms = Signal(self.signal), self.hold_ms
        is_off = Comparison(power, "<", Constant(self.off_below))
        not_off = Comparison(power, ">=", Constant(_tidy(self.off_below + self.hysteresis)))
        runs = Comparison(power, ">", Constant(self.running_above))
        runs_not = Comparison(power, "<=", Constant(_tidy(self.running_above - self.hysteresis)))
        return (
            Rule(is_off, State.OFF, "", hold_ms, hold_ms, not_off),
            Rule(runs, State.RUNNING, "", hold_ms, hold_ms, runs_not),
            Rule(None, State.IDLE),
        )


class StateByPower(_Model):
    """State rules in one line, for a machine of which only an energy meter is known."""

    by_power: PowerStates
    """Off, idle and running told from power alone."""


def _tidy(threshold: float) -> float:
    """Take the last digits from a sum, which are noise: people read it in the evidence."""
    return float(f"{threshold:.12g}")


def _kind_of_rules(value: Any) -> str:
    return "(one)" if isinstance(value, dict | StateByPower) else "(list)"


StateRules = Annotated[
    Annotated[tuple[StateRule, ...], Field(max_length=RULES_MAX), Tag("(list)")]
    | Annotated[StateByPower, Tag("(one)")],
    Discriminator(_kind_of_rules),
]
"""A list of rules; in its place ``{by_power: …}``. The brackets mark what is no key of the file."""


class ModbusConfig(_Model):
    """How a machine is reached over Modbus. Machines of one address or port share its line."""

    tcp: Annotated[InstanceOf[Endpoint], BeforeValidator(parse_endpoint)] | None = None
    """Modbus TCP: the machine, or a gateway with many units behind it."""
    rtu_tcp: Annotated[InstanceOf[Endpoint], BeforeValidator(parse_endpoint)] | None = None
    """Serial frames through TCP, as gateways in transparent mode speak."""
    serial: Annotated[str, BeforeValidator(_check_port)] | None = None
    """Modbus RTU: the port, best by its name below /dev/serial/by-id."""
    baud: Annotated[int, BeforeValidator(_check_baud)] | None = None
    """Speed of the serial line; must be given for one."""
    parity: Annotated[Literal["N", "E", "O"], BeforeValidator(_check_parity)] = "N"
    """Parity of the serial line."""
    stop_bits: Literal[1, 2] = 1
    """Stop bits of the serial line."""
    pause_ms: PauseMs = Field(0, alias="pause")
    """Between an answer and the next question, for devices that need a rest."""
    device_id: Annotated[int, Field(ge=0, le=255)] = 1
    """Unit on the line or behind the gateway."""
    timeout_ms: TimeoutMs = Field(1_000, alias="timeout")
    """How long an answer may take, beside its time on the line."""
    max_gap: Annotated[int, Field(ge=0, le=READ_WORDS_MAX)] = 8
    """Unasked words (or bits) that one request may read along."""
    max_read: Annotated[int, Field(ge=1, le=READ_WORDS_MAX)] = 100
    """Words in one request."""
    one_request_per_signal: bool = False
    """For devices that refuse to give several values at once."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for cause, remedy in self._mistakes():
            raise MistakeError(cause, remedy)
        return self

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        ways = [one for one in ("tcp", "rtu_tcp", "serial") if getattr(self, one) is not None]
        if not ways:
            yield "says not where the machine is", "Add `tcp:`, `rtu_tcp:` or `serial:`"
        if len(ways) > 1:
            yield f"has both {ways[0]} and {ways[1]}", "Keep the one by which the machine is read"
        only_serial = {"baud", "parity", "stop_bits"} & self.model_fields_set
        if self.serial is None and only_serial:
            yield f"{min(only_serial)} is only for `serial:`", f"Remove `{min(only_serial)}:`"
        if self.serial is not None and self.baud is None:
            yield (
                "a serial line needs its baud rate",
                "Add `baud:`, e.g. baud: 9600; the machine's manual or display tells it",
            )
        if self.tcp is None and self.device_id not in UNITS:
            yield f"no unit of a serial line is number {self.device_id}", "Give 1…247"

    @property
    def way(self) -> str:
        """Say where the machine is, as it was written."""
        if self.serial is not None:
            return f"{self.serial} {self.baud}-8-{self.parity}-{self.stop_bits}"
        return str(self.tcp) if self.tcp is not None else f"rtu {self.rtu_tcp}"


class OpcuaConfig(_Model):
    """How a machine's OPC UA server is reached. Security never falls back by itself."""

    url: Annotated[str, BeforeValidator(parse_opcua_url)]
    """The server's endpoint."""
    security: Annotated[Policy, BeforeValidator(_check_policy)] = "Basic256Sha256"
    """Policy, always with Sign&Encrypt; ``none`` must be written out."""
    user: Words | None = None
    """User at the server; unset: anonymous."""
    password_file: Path | None = None
    """File that holds that user's password and nothing else."""
    certificate: Path | None = None
    """Certificate of this agent; unset: one is made at the first start."""
    private_key: Path | None = None
    """The key that belongs to it."""
    server_certificate: Path | None = None
    """The only certificate that the server may show; unset: the one of `machikoba agent trust`."""
    timeout_ms: TimeoutMs = Field(4_000, alias="timeout")
    """How long an answer may take."""
    subscribe: bool = True
    """Let the server tell changes; false polls every node at its own pace."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise MistakeError(
                "certificate and private key belong together", "Give both or neither"
            )
        if self.password_file is not None and self.user is None:
            raise MistakeError("has a password but no user", "Add `user:`")
        return self


class MachineConfig(_Model):
    """One machine: what it is, how it is reached, its signals and its state rules."""

    id: Identifier
    """Name of the machine in every message; it should never change."""
    profile: Words | None = None
    """Device profile, by its name or its path, that was laid under this stanza."""
    name: Names | None = None
    """What people call it: a text, or one in each language."""
    kind: Words | None = None
    """What it is, e.g. machining-centre."""
    maker: Words | None = None
    """Who made it."""
    model: Words | None = None
    """What its maker calls it."""
    processes: tuple[Identifier, ...] = ()
    """What it can do, by the slugs of the hub, e.g. milling-3axis."""
    modbus: ModbusConfig | None = None
    """How it is reached over Modbus."""
    opcua: OpcuaConfig | None = None
    """How it is reached over OPC UA."""
    max_age_ms: PromiseMs = Field(10_000, alias="max_age")
    """The freshness promise: link and time of reading are told at least this often."""
    signals: Annotated[dict[str, SignalConfig], Field(max_length=SIGNALS_MAX)]
    """What is read from it, by name."""
    state: StateRules = ()
    """Rules that tell its state, asked in their order; the first one that counts decides."""

    @model_validator(mode="before")
    @classmethod
    def _usable_profile(cls, value: Any) -> Any:
        """Tell what kept a profile from being laid under this machine, and nothing else."""
        if isinstance(value, dict) and isinstance(value.get("profile"), MistakeError):
            raise value["profile"]
        return value

    @field_validator("signals", mode="before")
    @classmethod
    def _signal_names(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value:
            raise MistakeError("no signal is given", "Add one, e.g. {rpm: {register: input 30, …}}")
        for name in value:
            if str(name).startswith(_RESERVED):
                raise MistakeError(
                    f"the name {name!r} is reserved for the agent's own signals",
                    f"Call it `{str(name).removeprefix(_RESERVED) or 'signal'}`",
                )
            if SIGNAL_PATTERN.fullmatch(str(name)) is None:
                raise MistakeError(
                    f"{_shown(name)} is no name for a signal",
                    "Begin with a letter or digit and use letters, digits, _ . / - and spaces,"
                    " at most 96",
                )
        return value

    @field_validator("state")
    @classmethod
    def _usable_rules(cls, rules: StateRules, info: ValidationInfo) -> StateRules:
        known = info.data.get("signals")
        if isinstance(rules, StateByPower):
            if known is not None:
                power = Signal(rules.by_power.signal)
                _check_condition("by_power", Comparison(power, ">", Constant(0)), known)
            return rules
        for place, rule in enumerate(rules, 1):
            if rule.otherwise is not None and place < len(rules):
                raise MistakeError(
                    f"`otherwise` is rule {place} of {len(rules)}, so the rest is never asked",
                    "Make it the last one",
                )
            for condition in (rule.when, rule.until):
                if condition is not None and known is not None:
                    _check_condition(f"rule {place}: {condition!r}", parse(condition), known)
        return rules

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.modbus is None and self.opcua is None:
            raise MistakeError("no way to the machine is given", "Add `modbus:` or `opcua:`")
        if self.modbus is not None and self.opcua is not None:
            raise MistakeError(
                "has both modbus and opcua", "Make two machines of it, or remove one"
            )
        timed = [name for name, signal in self.signals.items() if signal.cycle_time]
        if len(timed) > 1:
            raise MistakeError(
                f"{timed[0]!r} and {timed[1]!r} both tell the cycle time",
                "Leave `cycle_time:` with one of them",
            )
        if timed and CYCLE_TIME in self.signals:
            raise MistakeError(
                f"{timed[0]!r} tells the cycle time as {CYCLE_TIME!r}, which is a signal already",
                f"Give the signal {CYCLE_TIME!r} another name, or remove `cycle_time:`",
            )
        for name, signal in self.signals.items():
            if self.modbus is not None and signal.source is None:
                raise MistakeError(
                    f"signal {name!r} has no register, but the machine speaks Modbus",
                    "Give it a `register:`, e.g. input 30",
                )
            if self.opcua is not None and signal.node is None:
                raise MistakeError(
                    f"signal {name!r} has no node, but the machine speaks OPC UA",
                    "Give it a `node:`",
                )
        return self

    def rules(self) -> tuple[Rule, ...]:
        """Give the rules of the machine's state in the form that is judged by."""
        if isinstance(self.state, StateByPower):
            return self.state.by_power.rules()
        return tuple(rule.rule() for rule in self.state)

    @property
    def cycle_counter(self) -> str | None:
        """The counter of good parts whose steps tell the cycle time, where that was asked for."""
        return next((name for name, one in self.signals.items() if one.cycle_time), None)

    @property
    def promise_ms(self) -> int:
        """The freshness promise that can be kept: no shorter than the quickest reading."""
        return max(self.max_age_ms, min(signal.every_ms for signal in self.signals.values()))

    def description(self) -> dict[str, object]:
        """Give what the birth tells about the machine to people and to matching."""
        name = self.name.as_dict() if self.name else {"en": self.id, "ja": self.id}
        said = {"kind": self.kind, "maker": self.maker, "model": self.model}
        known: dict[str, object] = {key: value for key, value in said.items() if value is not None}
        return {"name": name, **known, "processes": list(self.processes)}


def _check_condition(label: str, condition: Expression, known: Mapping[str, SignalConfig]) -> None:
    """Refuse names that are no signals, and comparisons that could never be decided."""
    for name in sorted(signals(condition) - set(known)):
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        raise MistakeError(
            f"{label} asks for {name!r}, which is no signal of this machine",
            f"{hint}Signals: {', '.join(list(known)[:8])}",
        )
    for name, wanted in _uses(condition):
        is_text = known[name].datatype == "string"
        if is_text is not wanted:
            raise MistakeError(
                f"{label} uses {name!r} as {'a text' if wanted else 'a number'}, but it is"
                f" {'a text' if is_text else 'a number'}",
                'Compare texts like mode == "auto", and numbers like rpm > 50',
            )


def _uses(condition: Expression) -> Iterator[tuple[str, bool]]:
    """Yield each signal with whether the condition takes it for a text."""
    match condition:
        case Comparison(left, name, right):
            sides = (left, right)
            if any(isinstance(side, Constant) for side in sides) or name not in {"==", "!="}:
                text = any(isinstance(getattr(side, "value", None), str) for side in sides)
                yield from ((side.name, text) for side in sides if isinstance(side, Signal))
        case Negation(inner):
            yield from _uses(inner)
        case Junction(_, parts):
            for part in parts:
                yield from _uses(part)
        case _:
            yield condition.signal.name, False


class BrokerConfig(_Model):
    """The MQTT broker, and who the agent is there."""

    url: Annotated[str, BeforeValidator(parse_url)]
    """Address of the broker, encrypted (mqtts) wherever others could listen."""
    username: Words | None = None
    """User at the broker."""
    password_file: Path | None = None
    """File that holds the password; or the environment: MACHIKOBA_AGENT_BROKER_PASSWORD."""
    ca_file: Path | None = None
    """Authority that vouches for the broker (PEM); unset: those of the system."""
    cert_file: Path | None = None
    """Certificate of this agent, for brokers that ask for one."""
    key_file: Path | None = None
    """The key that belongs to it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise MistakeError(
                "certificate and key belong together", "Give `cert_file` and `key_file`, or neither"
            )
        files = (self.ca_file, self.cert_file)
        if any(files) and not self.url.startswith("mqtts:"):
            raise MistakeError(
                "certificates need an encrypted connection", "Use mqtts:// in `url:`"
            )
        if self.password_file is not None and self.username is None:
            raise MistakeError("has a password but no user", "Add `username:`")
        return self


class OutboxConfig(_Model):
    """How much the agent keeps on its disk while nobody has acknowledged it."""

    bytes_max: Annotated[int, BeforeValidator(_outbox_size)] = 512 * 1024**2
    """Room on the disk; when it is full the oldest values go, counted and announced."""
    age_max_ms: PositiveMs = Field(30 * 86_400_000, alias="age")
    """Older values are given up."""
    keep_settled_ms: DurationMs = Field(86_400_000, alias="keep_settled")
    """What the hub has confirmed is kept this long, to refill a hub that was restored."""
    commit_interval_ms: CommitMs = Field(50, alias="commit_interval")
    """Shortest time between two writes; 500ms is kinder to SD cards."""


class HttpConfig(_Model):
    """The status page for monitoring, on this computer only."""

    port: Annotated[int, Field(ge=0, le=65_535)]
    """/healthz, /metrics and /status.json; 0 takes any that is free."""


class Defaults(_Model):
    """What signals and lines use unless they say something else."""

    every_ms: PeriodMs = Field(1_000, alias="every")
    """How often a value is read."""
    max_age_ms: PositiveMs = Field(30_000, alias="max_age")
    """An unchanged value is sent again when the last one sent is this old."""
    deadband: Annotated[InstanceOf[Deadband], BeforeValidator(parse_deadband)] = Deadband()
    """The smallest step that is worth telling."""
    word_order: Order = "big"
    """Which of several registers comes first."""
    byte_order: Order = "big"
    """Which byte of a register comes first."""
    timeout_ms: TimeoutMs = Field(1_000, alias="timeout")
    """How long an answer may take."""
    max_gap: Annotated[int, Field(ge=0, le=READ_WORDS_MAX)] = 8
    """Unasked words that one request may read along."""
    max_read: Annotated[int, Field(ge=1, le=READ_WORDS_MAX)] = 100
    """Words in one request."""


class AgentSettings(_Model):
    """Everything of the file but the machines, which are judged one by one."""

    site: Identifier
    """Id of the factory, as the hub knows it."""
    agent: Identifier
    """Id of this computer within the factory."""
    broker: BrokerConfig
    """The MQTT broker, and who the agent is there."""
    host: Identifier | None = None
    """Id of the only hub whose acknowledgements count; unset: the first one met."""
    ack: Literal["hub", "none"] = "hub"
    """none: a foreign host that acknowledges nothing; a value counts as sent once published."""
    data: Path = Path("/var/lib/machikoba")
    """Directory of the outbox."""
    outbox: OutboxConfig = OutboxConfig.model_validate({})
    """What is kept on the disk until the hub has confirmed it."""
    http: HttpConfig | None = None
    """The status page for monitoring; unset: on a free port, for `status`."""
    opcua_processes: Annotated[int, Field(ge=1, le=16)] = 2
    """Processes that OPC UA servers are spread over; one that hangs moves to one of its own."""
    defaults: Defaults = Defaults.model_validate({})
    """What signals and lines use unless they say something else."""
    machines: tuple[object, ...]
    """The machines, one by one."""


class AgentConfig(AgentSettings):
    """The whole file, with the defaults filled in."""

    machines: tuple[MachineConfig, ...]

    @field_validator("machines", mode="before")
    @classmethod
    def _some(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise MistakeError("must be a list", "Begin each machine with `- id: …`")
        if not 0 < len(value) <= MACHINES_MAX:
            raise MistakeError(
                f"holds {len(value)} machines", f"Give 1 to {MACHINES_MAX}, e.g. `- id: …`"
            )
        return value

    @field_validator("machines")
    @classmethod
    def _unique(cls, machines: tuple[MachineConfig, ...]) -> tuple[MachineConfig, ...]:
        ids = [machine.id for machine in machines]
        for again in sorted(repeated_ids(ids)):
            places = " and ".join(str(at) for at, one in enumerate(ids, 1) if one == again)
            raise MistakeError(f"the machines {places} are both {again!r}", "Rename one of them")
        return machines

    @field_validator("machines")
    @classmethod
    def _one_line_one_way(cls, machines: tuple[MachineConfig, ...]) -> tuple[MachineConfig, ...]:
        for _, mistake in quarrels(machines):
            raise mistake
        return machines

    def completed(self) -> Self:
        """Return the same configuration with `defaults` filled into signals and lines."""
        machines = tuple(_completed(machine, self.defaults) for machine in self.machines)
        return self.model_copy(update={"machines": machines})

    def anchored(self, base: Path) -> Self:
        """Return the same configuration with relative paths seen from the directory `base`."""
        return _anchored(self, base)


def _anchored(model: ModelT, base: Path) -> ModelT:
    update: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path):
            update[name] = base / value
        elif isinstance(value, _Model):
            update[name] = _anchored(value, base)
        elif name == "machines":
            update[name] = tuple(_anchored(machine, base) for machine in value)
    return model.model_copy(update=update)


def quarrels(machines: Iterable[MachineConfig]) -> Iterator[tuple[MachineConfig, MistakeError]]:
    """Yield the machines that talk another way than an earlier one of the same line.

    Two ways of talking on one line cannot be: one of them would not be understood.
    """
    known: dict[str, tuple[str, str]] = {}
    for machine in machines:
        if machine.modbus is None:
            continue
        modbus = machine.modbus
        place = str(modbus.serial or modbus.tcp or modbus.rtu_tcp)
        first, way = known.setdefault(place, (machine.id, modbus.way))
        if way != modbus.way:
            yield (
                machine,
                MistakeError(
                    f"{first} and {machine.id} share the line {place}, but one says"
                    f" {way} and the other {modbus.way}",
                    "Give all machines of a line the same settings",
                ),
            )


def repeated_ids(ids: Sequence[str]) -> set[str]:
    """Return the ids that occur more than once."""
    return {one for one in ids if ids.count(one) > 1}


def _completed(machine: MachineConfig, defaults: Defaults) -> MachineConfig:
    given = {name: getattr(defaults, name) for name in defaults.model_fields_set}
    signals = {name: _filled(signal, given) for name, signal in machine.signals.items()}
    modbus = None if machine.modbus is None else _filled(machine.modbus, given)
    opcua = None if machine.opcua is None else _filled(machine.opcua, given)
    update = {"signals": signals, "modbus": modbus, "opcua": opcua}
    return machine.model_copy(update=update)


def _filled(model: ModelT, given: Mapping[str, Any]) -> ModelT:
    """Fill in the given values wherever the model's own key was not written."""
    fields = type(model).model_fields
    update = {
        name: value
        for name, value in given.items()
        if name in fields and name not in model.model_fields_set
    }
    return model.model_copy(update=update)
