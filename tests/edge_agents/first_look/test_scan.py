"""A scan finds who is there, names whom it knows, and hardly disturbs anyone.

Promises: every profile with marks is named from its own device's dump, and never from another's
unless the two bear the same marks; a gateway's units are found one by one; silence, garbage,
refusals and closed doors end nothing; what is written for the found devices passes `check`.
"""

import asyncio
import json

import pytest

from edge_agents import commands
from edge_agents.agent.loading import strict
from edge_agents.drivers.enquiry import enquiring
from edge_agents.drivers.modbus import over_tcp
from edge_agents.first_look import scan
from edge_agents.profiles import profiles, read_profile
from tests.edge_agents.profiles.dumps import dump, modbus_device, serving

KNOWN = [read_profile(path) for path in profiles().values()]
MARKED = [one for one in KNOWN if one.identify]
ALIKE = {"eastron-sdm120", "eastron-sdm630"}
"""Meters of one maker that no register read here tells apart."""


async def found_at(port, units=(1,), timeout_s=0.3):
    inquiry = scan.Inquiry(list(units), KNOWN, timeout_s, len(units))
    async with enquiring(over_tcp("127.0.0.1", port), 2.0) as line:
        return {at: unit async for at, unit in scan.find_units(line, inquiry)}


@pytest.mark.parametrize("profile", MARKED, ids=[one.slug for one in MARKED])
async def test_a_known_device_is_named_by_its_marks(profile):
    async with modbus_device(dump(profile.slug)["registers"]) as port:
        unit = (await found_at(port))[1]

    assert profile.slug in unit.profiles
    assert {*unit.profiles} == {profile.slug} or {*unit.profiles} == ALIKE


@pytest.mark.parametrize("slug", ["mitsubishi-fx5", "advantech-adam-6050"])
async def test_a_device_without_marks_is_found_but_not_named(slug):
    async with modbus_device(dump(slug)["registers"]) as port:
        unit = (await found_at(port))[1]

    assert unit is not None
    assert unit.profiles == ()


async def gateway(reader, writer):
    """Units 3 and 7 are there; 5 answers nonsense; for all others the gateway speaks."""
    while True:
        head = await reader.readexactly(7)
        pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
        unit = head[6]
        answer = bytes((pdu[0] | 0x80, 11))
        if unit in {3, 7}:
            answer = identity(pdu) if pdu[0] == 0x2B else bytes((pdu[0], 2, 0, 1))
        if unit == 5:
            answer = b"\x63\x00"
        if unit != 9:  # from unit 9 nothing comes at all
            writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:] + answer)


def identity(pdu):
    assert pdu[1] == 0x0E
    objects = [(0, b"Tsukuba Seiki"), (1, b"TS-9")]
    listed = b"".join(bytes((code, len(text))) + text for code, text in objects)
    return bytes((0x2B, 0x0E, 1, 1, 0, 0, len(objects))) + listed


async def test_units_behind_a_gateway_are_found_one_by_one():
    async with serving(gateway) as port:
        found = await found_at(port, range(1, 11), 0.2)

    there = {at for at, unit in found.items() if unit is not None}
    assert there - {5} == {3, 7}
    assert found[3].said == "Tsukuba Seiki TS-9"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1", [1]), ("1,2,5", [1, 2, 5]), ("3-6", [3, 4, 5, 6]), ("1,1-2", [1, 2])],
)
def test_device_ids_are_written_as_lists_and_ranges(text, wanted):
    assert scan.units(text) == wanted


@pytest.mark.parametrize("text", ["x", "256", "-1", "1-999999999", "5-", ""])
def test_what_is_no_list_of_device_ids_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 (the words are int's own)
        scan.units(text)


def test_a_network_larger_than_a_workshop_is_refused():
    assert len(scan.hosts("192.168.10.0/28")) == 14
    assert scan.hosts("10.0.0.7/32") == ["10.0.0.7"]
    assert scan.hosts("plc-3.local") == ["plc-3.local"]
    with pytest.raises(ValueError, match="at most 1024"):
        scan.hosts("10.0.0.0/8")


async def test_the_command_finds_names_and_writes_settings_that_pass_check(tmp_path, capsys):
    path = tmp_path / "edge.yaml"
    async with modbus_device(dump("omron-km-n1")["registers"]) as port:
        words = ["scan", "tcp", "127.0.0.1", "--port", str(port), "--json", "--write", str(path)]
        code = await asyncio.to_thread(commands.main, words)
        lines = capsys.readouterr().out.splitlines()
        machine = strict(path, {}).machines[0]

    assert code == 0
    assert json.loads(lines[0]) == [
        {
            "protocol": "modbus",
            "tcp": f"127.0.0.1:{port}",
            "device_id": 1,
            "profiles": ["omron-km-n1"],
            "says": None,
        }
    ]
    assert (machine.id, machine.modbus.tcp.port) == ("omron-1", port)
    assert "power_w" in machine.signals


async def test_nobody_at_home_is_said_with_what_to_try(capsys):
    async with serving(gateway) as port:
        pass

    code = await asyncio.to_thread(
        commands.main, ["scan", "tcp", "127.0.0.1", "--port", str(port), "--timeout", "0.2"]
    )

    assert code == 1
    assert "nobody answers" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["tcp", "10.0.0.0/8"], ["serial", "/dev/x", "--baud", "1"]])
def test_senseless_wishes_are_refused(words, capsys):
    assert commands.main(["scan", *words]) == 2
    assert capsys.readouterr().err.startswith("machikoba agent scan: ")


def test_a_serial_port_that_is_not_there_is_said(capsys):
    assert commands.main(["scan", "serial", "/dev/no-such-port"]) == 1
    assert "/dev/no-such-port" in capsys.readouterr().err
