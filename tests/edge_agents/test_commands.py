"""What a person types beside the machines, and what they read back.

Promises: `check` tells every mistake, the plan and what cannot be read; `read` prints values with
their quality; `status` tells how the running agent does; exit codes are 0, 1 and 2 as documented.
"""

import json
import re
import sys

import pytest

from edge_agents import commands
from tests.brokers import wait_until

UNREACHABLE = """
site: ota
agent: line-1
broker: {url: mqtt://127.0.0.1}
data: box
machines:
  - id: a
    modbus: {tcp: "127.0.0.1:1", timeout: 200ms}
    signals:
      on: {register: coil 1}
      rpm: {register: input 0, type: uint16, unit: rpm}
    state: [{when: on, is: running}, {otherwise: idle}]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "edge.yaml"
    path.write_text(UNREACHABLE)
    return path


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(commands, "READ_TIMEOUT_S", 3.0)


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_trust_and_certificate_say_why_they_cannot_help_here(config, capsys):
    words = ["--config", str(config)]

    assert commands.main(["trust", "opc.tcp://127.0.0.1:4840", *words]) == 1
    assert capsys.readouterr().err == (
        "no machine is read at opc.tcp://127.0.0.1:4840. None is read over OPC UA\n"
    )
    assert commands.main(["certificate", *words]) == 1
    assert capsys.readouterr().err == "no machine is read over OPC UA\n"


def test_a_certificate_of_the_agent_is_made_and_shown(config, capsys):
    rewrite(config, 'modbus: {tcp: "127.0.0.1:1", timeout: 200ms}', "opcua: {url: opc.tcp://h}")
    text = config.read_text().replace("register: coil 1", "node: i=1, type: bool")
    config.write_text(text.replace("register: input 0", "node: i=2"))

    assert commands.main(["certificate", "--config", str(config)]) == 0

    shown = capsys.readouterr().out
    assert "application URI  urn:machikoba:ota:line-1" in shown
    assert "SHA-256" in shown
    assert (config.parent / "box" / "opcua" / "identity" / "key.pem").exists()


def test_check_tells_every_mistake_and_exits_with_2(config, capsys):
    rewrite(config, "coil 1", "coil 70000")
    rewrite(config, "unit: rpm", "unti: rpm")

    assert commands.main(["check", "--config", str(config)]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        "machines[0].signals.on.register",
        "machines[0].signals.rpm.unti",
    ]


def test_check_without_the_machines_shows_the_plan_of_each_line(config, capsys):
    assert commands.main(["check", "--offline", "--config", str(config)]) == 0

    out = capsys.readouterr().out
    assert "1 machine, 2 signals: no mistakes" in out
    assert [line.split() for line in out.splitlines()[2:4]] == [
        ["line", "requests", "registers", "rate", "utilisation"],
        ["modbus", "127.0.0.1:1", "2", "2", "2.0/s", "2%"],
    ]


def test_check_refuses_a_line_that_cannot_answer_so_much(config, capsys):
    signals = "\n".join(
        f"      s{n}: {{register: input {n * 200}, type: uint16, every: 50ms}}" for n in range(9)
    )
    rewrite(config, "      on:", f"{signals}\n      on:")

    assert commands.main(["check", "--offline", "--config", str(config)]) == 2

    captured = capsys.readouterr()
    assert "TOO MUCH" in captured.out
    assert captured.err.startswith("modbus 127.0.0.1:1 cannot answer that much. Read less often")


def test_check_refuses_a_birth_that_the_hub_would_refuse(config, capsys):
    signals = "\n".join(
        f"      {'x' * 80}{n}: {{register: input {n}, type: uint16, unit: rpm}}"
        for n in range(1_999)
    )
    rewrite(config, "      on:", f"{signals}\n      on:")
    rewrite(config, "      rpm: {register: input 0, type: uint16, unit: rpm}\n", "")

    assert commands.main(["check", "--offline", "--config", str(config)]) == 2

    assert re.match(r"the birth of a has \d{3} KiB, more than 200", capsys.readouterr().err)


def test_check_of_a_machine_that_is_away_exits_with_1(config, capsys):
    assert commands.main(["check", "--config", str(config)]) == 1

    cells = re.split(r"  +", capsys.readouterr().out.splitlines()[-1])
    assert cells == ["a", "127.0.0.1:1 device 1", "0/2", "on (connection), rpm (connection)"]


def test_check_gives_advice_that_is_no_mistake(config, capsys):
    rewrite(config, "    state: [{when: on, is: running}, {otherwise: idle}]\n", "")
    rewrite(config, 'modbus: {tcp: "127.0.0.1:1", timeout: 200ms}', "opcua: {url: opc.tcp://h}")
    rewrite(config, "register: coil 1", "node: ns=2;s=On")
    rewrite(config, "register: input 0, type: uint16", "node: i=85")
    rewrite(config, "data: box", "ack: none")

    assert commands.main(["check", "--offline", "--config", str(config)]) == 0

    advice = [one for one in capsys.readouterr().out.splitlines() if one.startswith("advice: ")]
    assert [one.removeprefix("advice: ")[:20] for one in advice] == [
        "a: on names its name",
        "a has no state rules",
        "ack: none: a value c",
    ]


def test_read_of_a_machine_that_nobody_configured_names_those_there_are(config, capsys):
    assert commands.main(["read", "b", "--config", str(config)]) == 2

    assert capsys.readouterr().err == "there is no usable machine 'b'. Usable: a\n"


def test_read_of_a_machine_that_is_away_says_why_and_exits_with_1(config, capsys):
    words = ["read", "a", "--json", "--timeout", "2", "--config", str(config)]

    assert commands.main(words) == 1

    assert [(one["signal"], one["value"], one["quality"], one["reason"])
            for one in json.loads(capsys.readouterr().out)] == [
        ("on", None, "bad", "connection"),
        ("rpm", None, "bad", "connection"),
    ]  # fmt: skip


def test_status_without_an_agent_says_so(config, capsys):
    assert commands.main(["status", "--config", str(config)]) == 1

    assert capsys.readouterr().err == f"no agent is running in {config.parent / 'box'}\n"


def test_an_outbox_that_cannot_be_used_is_one_readable_line(config, capsys):
    (config.parent / "box").mkdir()
    (config.parent / "box" / "outbox.db").mkdir()

    assert commands.main(["run", "--config", str(config)]) == 1

    assert capsys.readouterr().err.startswith("machikoba agent: the outbox cannot be used: ")


def test_a_missing_package_is_named_with_its_remedy(config, capsys, monkeypatch):
    rewrite(config, 'modbus: {tcp: "127.0.0.1:1", timeout: 200ms}', "opcua: {url: opc.tcp://h}")
    rewrite(config, "register: coil 1", "node: i=84")
    rewrite(config, "register: input 0, type: uint16", "node: i=85")
    monkeypatch.setitem(sys.modules, "asyncua", None)

    assert commands.main(["read", "a", "--config", str(config)]) == 2

    assert capsys.readouterr().err == (
        "machikoba agent: the package `asyncua` is not installed. "
        "Install it with: pip install 'machikoba[agent]'\n"
    )


@pytest.mark.parametrize("words", [["--help"], ["check", "--help"]])
def test_help_is_there_and_tells_the_exit_codes(words, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main(words)

    assert ended.value.code == 0
    if words == ["--help"]:
        assert "exit codes: 0 good; 1 failed" in capsys.readouterr().out


@pytest.mark.system
def test_check_and_read_of_real_machines(site, capsys):
    site.write()

    assert commands.main(["check", "--config", str(site.path)]) == 0
    machines = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [(words[0], words[-1]) for words in machines] == [("mc-1", "20/20"), ("nl-1", "20/20")]

    assert commands.main(["read", "mc-1", "--config", str(site.path)]) == 0
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:4] == ["signal", "value", "unit", "quality"]
    assert len(rows) == 20
    assert all("good" in row for row in rows)


@pytest.mark.system
def test_status_of_a_running_agent_tells_session_outbox_and_lines(site, capsys):
    site.start()
    wait_until(lambda: site.committed()[1] > 5, "entries on disk", 30)

    assert commands.main(["status", "--config", str(site.path)]) == 0

    out = capsys.readouterr().out
    assert "broker not connected; hub none met yet, not answering" in out
    assert "entries waiting (oldest " in out
    assert "0 values given up" in out
    assert "modbus 127.0.0.1:" in out
    assert commands.main(["status", "--json", "--config", str(site.path)]) == 0
    assert json.loads(capsys.readouterr().out)["machines"] == 2


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        ({"standing": "sure", "waiting": 0, "untimed": 0, "steps": 0}, []),
        (
            {"standing": "waiting", "waiting": 7, "untimed": 0, "steps": 0},
            ["clock NOT KNOWN to be right: 7 values wait for it"],
        ),
        (
            {"standing": "hub", "waiting": 0, "untimed": 3, "steps": 1},
            [
                "clock told by the hub: values are marked as of uncertain time",
                "clock set 1 times; 3 values of uncertain time",
            ],
        ),
    ],
)
def test_status_tells_of_a_clock_only_when_something_is_wrong_with_it(clock, words, capsys):
    commands._show_clock({"clock": clock})

    assert capsys.readouterr().out.splitlines() == words


def test_check_advises_against_a_password_that_anybody_can_read(config, capsys):
    rewrite(
        config,
        'modbus: {tcp: "127.0.0.1:1", timeout: 200ms}',
        "opcua: {url: opc.tcp://h, security: none, user: me}",
    )
    text = config.read_text().replace("register: coil 1", "node: i=1, type: bool")
    config.write_text(text.replace("register: input 0", "node: i=2"))

    commands.main(["check", "--offline", "--config", str(config)])

    assert "maybe the password of 'me'" in capsys.readouterr().out
