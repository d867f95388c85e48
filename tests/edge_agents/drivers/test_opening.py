"""Machines of one address share a line, and nothing is connected before it runs."""

import random

import pytest

from edge_agents.config import AgentConfig
from edge_agents.drivers import line_plans, open_drivers, read_each, read_once
from gateway.model import Quality, Reason
from tests.contract.test_drivers import now_ms
from tests.edge_agents.drivers.bus import Bus
from tests.edge_agents.drivers.plc import Plc


def config(*machines):
    return AgentConfig.model_validate(
        {
            "site": "site",
            "agent": "agent",
            "broker": {"url": "mqtt://127.0.0.1"},
            "machines": list(machines),
        }
    )


def modbus(name, port, device_id=1, **signals):
    signals = signals or {"a": {"register": "holding 0", "type": "uint16"}}
    address = {"tcp": f"127.0.0.1:{port}", "device_id": device_id, "timeout": "200ms"}
    return {"id": name, "modbus": address, "signals": signals}


def opcua(name, url):
    return {
        "id": name,
        "opcua": {"url": url, "security": "none"},
        "signals": {"a": {"node": "i=2258"}},
    }


async def test_machines_of_one_address_share_a_line_and_of_one_server_a_conversation():
    drivers = open_drivers(
        config(
            modbus("m1", 1502, 1),
            modbus("m2", 1502, 2),
            modbus("m3", 1503),
            opcua("m4", "opc.tcp://127.0.0.1:4840"),
            opcua("m5", "opc.tcp://127.0.0.1:4840"),
        ),
        now_ms=now_ms,
        rng=random.Random(1),
    )

    status = {one.status().name: one.status() for one in drivers}
    assert {name: [unit.machine for unit in one.units] for name, one in status.items()} == {
        "modbus 127.0.0.1:1502": ["m1", "m2"],
        "modbus 127.0.0.1:1503": ["m3"],
        "opcua opc.tcp://127.0.0.1:4840": ["m4", "m5"],
    }
    assert not any(one.connected for one in status.values())


async def test_a_machine_is_read_once_in_the_order_of_its_configuration():
    async with Plc(words={0: 0x8000, 1: 0xFFFE, 2: 0x4366, 3: 0x4000, 9: 3}) as plc:
        machine = modbus(
            "m1",
            plc.port,
            text={"register": "input 9", "type": "uint16", "enum": {3: "auto"}},
            volts={"register": "input 2", "type": "float32", "unit": "V"},
            tenths={"register": "holding 1", "type": "int16", "scale": 0.1},
            high={"register": "holding 0.15"},
            ghost={"register": "holding 77", "type": "uint16"},
        )
        samples = await read_once(
            config(machine), "m1", now_ms=now_ms, rng=random.Random(1), timeout_s=5.0
        )

    assert [(one.signal, one.value, one.reason) for one in samples] == [
        ("text", "auto", Reason.NONE),
        ("volts", 230.25, Reason.NONE),
        ("tenths", -0.2, Reason.NONE),
        ("high", True, Reason.NONE),
        ("ghost", None, Reason.ADDRESS),
    ]


async def test_a_machine_that_does_not_answer_is_read_as_bad_within_the_time():
    async with Plc(silent={1}) as plc:
        samples = await read_once(
            config(modbus("m1", plc.port)),
            "m1",
            now_ms=now_ms,
            rng=random.Random(1),
            timeout_s=0.1,
        )

    assert [(one.signal, one.quality, one.reason) for one in samples] == [
        ("a", Quality.BAD, Reason.TIMEOUT)
    ]


async def test_a_machine_that_is_not_configured_is_not_read():
    with pytest.raises(KeyError):
        await read_once(
            config(modbus("m1", 1502)), "m2", now_ms=now_ms, rng=random.Random(1), timeout_s=1.0
        )


def test_the_plan_of_a_line_adds_up_its_machines():
    plans = line_plans(config(modbus("m1", 1502, 1), modbus("m2", 1502, 2)))

    assert plans["modbus 127.0.0.1:1502"].requests == 2
    assert plans["modbus 127.0.0.1:1502"].utilisation == pytest.approx(0.02)


def serial(name, device_id, every, **more):
    way = {"serial": "/dev/ttyUSB0", "baud": 9_600, "device_id": device_id, **more}
    signals = {"a": {"register": "holding 0", "type": "string", "length": 200, "every": every}}
    return {"id": name, "modbus": way, "signals": signals}


def test_machines_of_one_serial_port_share_its_line_and_what_it_can_carry():
    # 213 bytes of 11 bits at 9600 baud take 244 ms, two gaps of 3.5 characters 8 ms.
    plans = line_plans(config(serial("m1", 1, "1s"), serial("m2", 2, "2s")))

    [(name, plan)] = plans.items()
    assert name == "modbus /dev/ttyUSB0 9600-8-N-1"
    assert plan.requests == 2
    assert plan.utilisation == pytest.approx(1.5 * (0.244 + 0.008 + 0.010), rel=0.01)


def test_the_pause_a_line_needs_counts_as_its_time():
    [plan] = line_plans(config(serial("m1", 1, "1s", pause="100ms"))).values()

    assert plan.utilisation == pytest.approx(0.244 + 0.008 + 0.010 + 0.100, rel=0.01)


def test_each_way_to_a_machine_is_a_line_of_its_own():
    drivers = open_drivers(
        config(
            modbus("m1", 1502),
            {**modbus("m2", 1502), "modbus": {"rtu_tcp": "127.0.0.1:1503", "device_id": 2}},
            serial("m3", 3, "1s"),
        ),
        now_ms=now_ms,
        rng=random.Random(1),
    )

    assert [one.status().name for one in drivers] == [
        "modbus 127.0.0.1:1502",
        "modbus rtu 127.0.0.1:1503",
        "modbus /dev/ttyUSB0 9600-8-N-1",
    ]


async def test_machines_of_one_serial_port_are_read_over_one_opening_of_it():
    async with Bus(3) as bus:
        way = {"serial": bus.path, "baud": 115_200, "timeout": "200ms"}
        number = {"number": {"register": "holding 0", "type": "uint16"}}
        machines = [
            {"id": f"m{one}", "modbus": {**way, "device_id": one}, "signals": number}
            for one in (1, 2, 3)
        ]
        found = await read_each(
            config(*machines), now_ms=now_ms, rng=random.Random(1), timeout_s=10.0
        )

    assert {name: [one.value for one in samples] for name, samples in found.items()} == {
        "m1": [1], "m2": [1], "m3": [1],
    }  # fmt: skip
