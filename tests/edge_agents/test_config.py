"""What a factory writes is either understood exactly, or refused with place, cause and remedy.

Promises: each folder ``tests/cases/config-*`` gives the error it records, word for word; no input
raises anything but SettingsError; defaults fill in only what was not written.
"""

import copy
import os
import random
import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agents.agent.loading import strict
from edge_agents.config import (
    AgentConfig,
    AgentSettings,
    Deadband,
    Endpoint,
    MachineConfig,
    Register,
    SignalConfig,
    SignalType,
    Table,
    parse_duration,
    parse_register,
)
from gateway.model import State
from gateway.settings import (
    Document,
    MistakeError,
    SettingsError,
    _models_in,
    parse,
    read,
    validate,
)
from gateway.states import Rule
from gateway.states import parse as parse_condition
from tests.edge_agents.settings_reference import FILE, SECTIONS, reference

CASES = sorted((Path(__file__).parents[1] / "cases").glob("config-*"))

GOOD = """
site: ota-precision
agent: line-1
broker: {url: mqtts://hub.example:8883, username: ota, password_file: /etc/machikoba/password}
defaults: {every: 2s, timeout: 500ms, word_order: little}
outbox: {bytes_max: 64MiB, age: 7d, commit_interval: 500ms}
machines:
  - id: mc-100
    name: {en: "Machining centre 100", ja: "立形MC 100"}
    processes: [milling-3axis]
    modbus: {tcp: "192.168.10.21:1502", device_id: 3}
    signals:
      spindle_rpm: {register: input 30, type: uint16, unit: rpm, every: 1s, deadband: 5}
      part_count:
        {register: holding 100, type: uint32, word_order: big, counts: good, cycle_time: true}
      alarm: {register: coil 7}
      door: {register: holding 5.3}
      mode: {register: holding 0x9C41, type: uint16, enum: {0: manual, 1: auto}, deadband: 2%}
      serial: {register: holding 200, type: string, length: 15}
    state:
      - {when: alarm, is: down, reason: machine-alarm}
      - {when: 'spindle_rpm > 50 and mode == "auto"', is: running, hold: 5s, release: 1m}
      - {otherwise: off}
  - id: rb-7
    name: Robot
    opcua: {url: opc.tcp://192.168.10.40:4840, user: machikoba, password_file: /etc/secret}
    signals:
      state_code: {node: "nsu=http://maker.example/UA;s=Robot.State"}
      power_kw: {node: "i=7"}
    state: {by_power: {signal: power_kw, off_below: 0.05, running_above: 1, hysteresis: 0.1}}
"""


@pytest.fixture
def config():
    return validate(parse(GOOD, Path("edge.yaml")), AgentConfig)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_broken_file_gives_the_recorded_error(case):
    with pytest.raises(SettingsError) as caught:
        strict(case / "config.yaml", {})

    assert str(caught.value).replace(f"{case}/", "") + "\n" == (case / "error.txt").read_text()


def test_there_are_cases():
    assert len(CASES) >= 25


def test_a_good_file_is_understood(config):
    machine = config.machines[0]
    signals = machine.signals

    assert machine.modbus.tcp == Endpoint("192.168.10.21", 1502)
    assert signals["spindle_rpm"].source == Register(Table.INPUT, 30)
    assert signals["spindle_rpm"].deadband == Deadband(absolute=5.0)
    assert signals["spindle_rpm"].every_ms == 1_000
    assert signals["door"].source == Register(Table.HOLDING, 5, bit=3)
    assert signals["door"].type is SignalType.BOOL
    assert signals["mode"].source == Register(Table.HOLDING, 40_001)
    assert signals["mode"].deadband == Deadband(percent=2.0)
    assert signals["mode"].enum == {0: "manual", 1: "auto"}
    assert signals["serial"].words == 8
    assert config.outbox.bytes_max == 64 * 1024**2
    assert config.outbox.age_max_ms == 7 * 86_400_000
    assert [signals[name].datatype for name in signals] == [
        "double", "double", "boolean", "boolean", "string", "string",
    ]  # fmt: skip


def test_state_rules_come_as_they_will_be_judged(config):
    assert list(config.machines[0].rules()) == [
        Rule(parse_condition("alarm"), State.DOWN, "machine-alarm"),
        Rule(
            parse_condition("spindle_rpm > 50 and mode == 'auto'"),
            State.RUNNING,
            hold_ms=5_000,
            release_ms=60_000,
        ),
        Rule(None, State.OFF),
    ]


def test_states_by_power_come_as_rules_with_two_thresholds_each(config):
    assert list(config.machines[1].rules()) == [
        Rule(
            parse_condition("power_kw < 0.05"), State.OFF, "", 5_000, 5_000,
            parse_condition("power_kw >= 0.15"),
        ),
        Rule(
            parse_condition("power_kw > 1.0"), State.RUNNING, "", 5_000, 5_000,
            parse_condition("power_kw <= 0.9"),
        ),
        Rule(None, State.IDLE),
    ]  # fmt: skip


def test_defaults_fill_in_only_what_was_not_written(config):
    machine, robot = config.completed().machines

    assert machine.signals["spindle_rpm"].every_ms == 1_000
    assert machine.signals["alarm"].every_ms == 2_000
    assert machine.signals["part_count"].word_order == "big"
    assert machine.signals["serial"].word_order == "little"
    assert machine.signals["alarm"].max_age_ms == 30_000
    assert machine.modbus.timeout_ms == 500
    assert robot.opcua.timeout_ms == 500
    assert robot.signals["state_code"].every_ms == 2_000


def test_a_machine_describes_itself_in_both_languages(config):
    assert [machine.description() for machine in config.machines] == [
        {
            "name": {"en": "Machining centre 100", "ja": "立形MC 100"},
            "processes": ["milling-3axis"],
        },
        {"name": {"en": "Robot", "ja": "Robot"}, "processes": []},
    ]


def test_a_promise_is_never_shorter_than_the_quickest_reading():
    machine = MachineConfig.model_validate(
        {
            "id": "m",
            "modbus": {"tcp": "h"},
            "max_age": "2s",
            "signals": {
                "a": {"register": "coil 1", "every": "1m"},
                "b": {"register": "coil 2", "every": "30s"},
            },
        }
    )

    assert machine.promise_ms == 30_000


def test_nothing_changes_once_read(config):
    with pytest.raises(ValueError, match="frozen"):
        config.site = "other"


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [("500ms", 500), ("1s", 1_000), ("1.5 h", 5_400_000), ("5m", 300_000), ("5min", 300_000),
     ("30d", 2_592_000_000), ("0s", 0)],
)  # fmt: skip
def test_durations_are_read_with_their_unit(text, expected_ms):
    assert parse_duration(text) == expected_ms


@pytest.mark.parametrize("value", [1, 1.5, True, None, "1", "s", "-1s", "1 week", "99999d", []])
def test_other_durations_are_refused(value):
    with pytest.raises(MistakeError):
        parse_duration(value)


@pytest.mark.parametrize("table", list(Table))
def test_a_register_written_in_hexadecimal_is_taken_literally(table):
    for address in [*range(0, 65_536, 13), 65_535]:
        bit = None if table.bits or address % 3 else address % 16
        text = f"{table} 0x{address:X}" + ("" if bit is None else f".{bit}")

        assert parse_register(text) == Register(table, address, bit)


@pytest.mark.parametrize(
    ("signal_type", "words"),
    [("bool", 1), ("int8", 1), ("uint16", 1), ("float16", 1), ("uint32", 2), ("bcd32", 2),
     ("float32", 2), ("int64", 4), ("float64", 4)],
)  # fmt: skip
def test_a_type_knows_how_many_registers_it_fills(signal_type, words):
    assert SignalType(signal_type).words == words


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[0]", (0,)),
        ("Pose.X", ("Pose", "X")),
        ("Axes[12].Load[3]", ("Axes", 12, "Load", 3)),
        ("[1][2]", (1, 2)),
        ("温度", ("温度",)),
    ],
)
def test_a_path_names_one_element_of_a_node(text, path):
    signal = SignalConfig.model_validate({"node": "i=7", "path": text})

    assert signal.path == path


@pytest.mark.parametrize(
    ("more", "datatype"),
    [({}, "int64"), ({"scale": 0.1}, "double"), ({"enum": {"1": "a"}}, "string")],
)
def test_64_bits_travel_whole_unless_they_are_scaled(more, datatype):
    signal = SignalConfig.model_validate({"register": "input 0", "type": "int64", **more})

    assert signal.datatype == datatype


def paths(value, at=()):
    """Yield every place in a document."""
    yield at
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from paths(inner, (*at, key))


DATA = parse(GOOD, Path("edge.yaml")).data
PARTS = [
    (AgentSettings, {**DATA, "machines": []}),
    *((MachineConfig, machine) for machine in DATA["machines"]),
]
"""What one mistake can reach: the head of the file and each machine are judged by themselves."""
KEYS = sorted({str(place[-1]) for place in paths(DATA) if place})
ODD = [
    None, True, False, 0, -1, 2**16, 2**31, 2**53 + 1, 2**64, 2**70, -(2**70), 0.5, -0.0, 5e-324,
    1e308, float("nan"), float("inf"), float("-inf"), "", " ", "1s", "input 30", "holding 40001",
    "coil 70000", "4x0001", "10%", "512MiB", "off", "a > b", "[::1]:5", "[", "h:99999", "mqtt://[",
    "opc.tcp://x:y", "ns=2;s=a", "\x00", "\uff11s", "²", "\ud800", "\u202e", "x" * 5_000, [], {},
    [[]], [{}], {"": {}}, {"a": {"register": "coil 1"}}, {"a": {"node": "i=1"}}, [None], [[[[[]]]]],
]  # fmt: skip
LETTERS = "aZ09_.-/ :;=[]{}()<>%&|'\"`~\\\n\t\x00ü機\u0301\U0001f600"
MUTATIONS = (1, 1, 1, 2, 4)


def strange(rng):
    match rng.randrange(8):
        case 0:
            return rng.randrange(-(2 ** rng.randrange(1, 71)), 2 ** rng.randrange(1, 71))
        case 1:
            return struct.unpack("d", rng.randbytes(8))[0]
        case 2:
            return "".join(rng.choices(LETTERS, k=rng.randrange(13)))
        case _:
            return copy.deepcopy(rng.choice(ODD))


def mutate(data, place, kind, key, value):
    parent = data
    for step in place[:-1]:
        try:
            parent = parent[step]
        except (KeyError, IndexError, TypeError):
            return
    last = place[-1]
    if isinstance(parent, dict):
        old = parent.pop(last, None) if kind in {"drop", "rename"} else parent.get(last)
        if kind == "set":
            parent[last] = value
        elif kind == "rename":
            parent[key] = old
        elif kind == "add":
            parent[key] = value
        elif kind == "nick" and isinstance(old, str):
            at = len(old) // 2
            parent[last] = f"{old[:at]}{key[:1]}{old[at + 1 :]}"
    elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        parent[last] = value


def mutated(rng, data):
    """Change a few places of a good document at random."""
    data = copy.deepcopy(data)
    places = [place for place in paths(data) if place]
    for _ in range(rng.choice(MUTATIONS)):
        key = rng.choice(KEYS) if rng.random() < 0.7 else str(strange(rng))
        kind = rng.choice(["set", "drop", "rename", "add", "nick"])
        mutate(data, rng.choice(places), kind, key, strange(rng))
    return data


def judged(model, data):
    """Validate; whatever the outcome, it is one that a person can use."""
    try:
        return validate(Document(Path("edge.yaml"), data), model)
    except SettingsError as error:
        assert all(one.cause and one.remedy for one in error.problems)  # noqa: PT017 (both outcomes are right)
        return None


def use(machine):
    machine.description()
    assert machine.promise_ms > 0
    assert all(rule.state for rule in machine.rules())


def judge_mutated_parts(seeds):
    outcomes = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        model, data = rng.choice(PARTS)
        try:
            found = judged(model, mutated(rng, data))
            if isinstance(found, MachineConfig):
                use(found)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        outcomes[model, found is not None] += 1
    return outcomes


def test_no_mutated_part_raises_anything_but_a_settings_error():
    outcomes = judge_mutated_parts(range(20_000))

    assert min(outcomes.values()) > 500, "mutations are too wild or too tame"
    assert len(outcomes) == 2 * len({model for model, _ in PARTS})


@pytest.mark.fuzz
@pytest.mark.skipif("MACHIKOBA_FUZZ" not in os.environ, reason="asked for by `make fuzz`")
def test_no_mutated_part_of_a_million_raises_anything_else():
    first = random.SystemRandom().randrange(2**48)

    judge_mutated_parts(range(first, first + 1_000_000))


@given(st.integers(0, 2**48))
@settings(max_examples=300, deadline=None)
def test_no_mutated_file_raises_anything_but_a_settings_error(seed):
    config = judged(AgentConfig, mutated(random.Random(seed), DATA))

    for machine in config.completed().machines if config else ():
        use(machine)


def test_the_example_for_a_factory_is_a_good_file():
    example = Path(__file__).parents[2] / "deploy" / "examples" / "edge.yaml"

    config = validate(read(example), AgentConfig).completed()

    assert [machine.id for machine in config.machines] == ["mc-100", "rb-7", "press-3"]


def test_relative_paths_are_seen_from_the_file(tmp_path):
    text = GOOD.replace("/etc/machikoba/password", "password").replace(
        "machines:", "data: outbox\nmachines:", 1
    )

    anchored = validate(parse(text, Path("edge.yaml")), AgentConfig).anchored(tmp_path)

    assert anchored.data == tmp_path / "outbox"
    assert anchored.broker.password_file == tmp_path / "password"
    assert anchored.machines[1].opcua.password_file == Path("/etc/secret")


def test_the_reference_of_all_settings_is_up_to_date_and_leaves_no_key_without_a_meaning():
    found = reference()

    assert FILE.read_text(encoding="utf-8") == found, "run this module as a program"
    rows = [line.split(" | ") for line in found.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows if not row[3].removesuffix(" |")] == []
    assert len(rows) == sum(len(model.model_fields) for _, model in SECTIONS)
    assert {model for _, model in SECTIONS} == models_of(AgentConfig)


def models_of(model):
    """Collect the models that a file is made of, from the outermost one on."""
    inner = {one for field in model.model_fields.values() for one in _models_in(field.annotation)}
    base = {AgentSettings} if model is AgentConfig else {model}
    return base.union(*(models_of(one) for one in inner))
