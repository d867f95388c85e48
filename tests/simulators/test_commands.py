"""`machikoba sim` runs a region for other programs, and tells mistakes in words."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.commands import main
from simulators.region import generated, to_yaml
from simulators.region.plan import parse

ROOT = Path(__file__).parents[2]
MODBUS_ONLY = """\
sites:
  - id: ota
    name: {en: Ota, ja: 大田}
    location: {lat: 35.56, lon: 139.72}
    municipality: "13111"
    machines: [{id: mc-1, kind: machining-centre, protocol: modbus, port: PORT}]
"""


SIM = "import sys; from simulators.commands import main; sys.exit(main(sys.argv[1:]))"


def started(*words):
    return subprocess.Popen(
        [sys.executable, "-c", SIM, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_region_runs_tells_where_and_stops_when_told(tmp_path, number):
    plan, ready_file = tmp_path / "region.yaml", tmp_path / "ready.json"
    plan.write_text(to_yaml(generated(sites=2, machines=3)), encoding="utf-8")
    program = started("run", str(plan), "--ready-file", str(ready_file))
    ready = json.loads(program.stdout.readline())
    for machine in ready["machines"]:
        socket.create_connection(("127.0.0.1", machine["port"]), timeout=5).close()
    with socket.create_connection(("127.0.0.1", ready["control_port"]), timeout=5) as control:
        control.sendall(b'{"do": "ports"}\n')
        told = json.loads(control.makefile().readline())
    site, machine = ready["machines"][0]["site"], ready["machines"][0]["machine"]
    words = ["do=force", f"site={site}", f"machine={machine}", "phase=down", "for_ms=99999"]
    forced = main(["tell", "--ready", str(ready_file), *words])
    refused = main(["tell", "--ready", str(ready_file), "do=explode"])
    os.kill(program.pid, number)
    _, errors = program.communicate(timeout=20)

    assert ready["ready"] is True
    assert [one["protocol"] for one in ready["machines"]].count("opcua") == 2
    assert sorted(told["machines"], key=str) == sorted(ready["machines"], key=str)
    assert (forced, refused) == (0, 1)
    assert json.loads(ready_file.read_text(encoding="utf-8")) == ready
    assert (program.returncode, errors) == (0, "")


def test_mistakes_in_a_region_are_told_one_by_one_and_end_with_2(tmp_path, capsys):
    path = tmp_path / "region.yaml"
    path.write_text(MODBUS_ONLY.replace("PORT", "-1").replace("en: Ota, ", ""), encoding="utf-8")

    assert main(["run", str(path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith(f"{path}:3:")
    assert told[1].startswith(f"{path}:6:")


def test_a_taken_port_is_told_with_the_remedy(tmp_path, capsys):
    path = tmp_path / "region.yaml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        path.write_text(MODBUS_ONLY.replace("PORT", str(port)), encoding="utf-8")
        code = main(["run", str(path)])

    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_an_invented_region_is_printed_as_a_file_that_can_be_read(capsys):
    assert main(["region", "--sites", "3", "--machines", "5", "--seed", "9"]) == 0

    region = parse(capsys.readouterr().out, Path("printed.yaml"))
    assert region == generated(sites=3, machines=5, seed=9)


def test_settings_are_written_from_a_ready_file(tmp_path, capsys):
    region = generated(sites=1, machines=1)
    plan, ready = tmp_path / "region.yaml", tmp_path / "ready.json"
    plan.write_text(to_yaml(region), encoding="utf-8")
    site, machine = region.sites[0].id, region.sites[0].machines[0].id
    where = {"site": site, "machine": machine, "host": "127.0.0.1", "port": 5, "device_id": 1}
    ready.write_text(json.dumps({"control_port": 1, "machines": [where]}), encoding="utf-8")
    words = ["configs", str(plan), "--ready", str(ready), "--broker", "mqtt://127.0.0.1:1883"]

    assert main([*words, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "hub.yaml"),
        str(tmp_path / f"agent-{site}.yaml"),
    ]


@pytest.mark.parametrize(("protocols", "count"), [("modbus", 0), ("opcua", 6), ("half", 2)])
def test_an_invented_region_speaks_what_was_asked(capsys, protocols, count):
    words = ["--sites", "2", "--machines", "3", "--protocols", protocols, "--step", "on_read"]
    assert main(["region", *words]) == 0

    region = parse(capsys.readouterr().out, Path("printed.yaml"))
    spoken = [machine.protocol for site in region.sites for machine in site.machines]
    assert spoken.count("opcua") == count
    assert region.step == "on_read"


@pytest.mark.parametrize("words", [["do"], ["do=state"]])
def test_an_order_that_cannot_be_given_is_told(tmp_path, capsys, words):
    assert main(["tell", "--ready", str(tmp_path / "none.json"), *words]) == 2
    assert capsys.readouterr().err.startswith("machikoba sim: ")


def test_a_ready_file_that_is_none_is_told(tmp_path, capsys):
    plan, ready = tmp_path / "region.yaml", tmp_path / "ready.json"
    plan.write_text(to_yaml(generated(sites=1, machines=1)), encoding="utf-8")
    ready.write_text("{}", encoding="utf-8")
    words = ["configs", str(plan), "--ready", str(ready), "--broker", "mqtt://127.0.0.1:1883"]

    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "no ready line" in capsys.readouterr().err
