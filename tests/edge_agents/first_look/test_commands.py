"""The first five minutes, command by command.

Promises: `init` writes a file that `check` accepts and never overwrites one; `probe` names the
setting behind what a display shows; `join` leaves secrets in files that only their owner reads,
says what it did, and leaves existing settings alone.
"""

import asyncio
import json
import os
import stat
from http import HTTPStatus

import pytest

from edge_agents import commands
from edge_agents.agent.loading import load
from edge_agents.first_look import join
from tests.edge_agents.profiles.dumps import dump, modbus_device, serving


def test_the_first_settings_pass_check(tmp_path, capsys):
    path = tmp_path / "edge.yaml"

    assert commands.main(["init", "--site", "ota-precision", "--out", str(path)]) == 0
    assert commands.main(["check", "--offline", "--config", str(path)]) == 0

    assert "no mistakes" in capsys.readouterr().out
    assert path.read_text(encoding="utf-8").count("#") >= 8


def test_settings_that_are_there_are_never_overwritten(tmp_path, capsys):
    path = tmp_path / "edge.yaml"
    path.write_text("mine", encoding="utf-8")

    assert commands.main(["init", "--out", str(path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "mine"


async def test_probe_names_the_setting_behind_the_display(capsys):
    async with modbus_device(dump("carlo-gavazzi-em340")["registers"]) as port:
        way = ["--tcp", f"127.0.0.1:{port}", "--count", "4", "--display", "70.123"]
        code = await asyncio.to_thread(commands.main, ["probe", "holding 12", *way])

    out = capsys.readouterr().out
    assert code == 0
    likely = out.split("the likeliest first:")[1].splitlines()[2]
    assert "{register: holding 12, type: uint32, word_order: little, scale: 0.001}" in likely


async def test_probe_tells_programs_the_same(capsys):
    async with modbus_device(dump("carlo-gavazzi-em340")["registers"]) as port:
        way = ["--tcp", f"127.0.0.1:{port}", "--count", "2", "--display", "70.123", "--json"]
        code = await asyncio.to_thread(commands.main, ["probe", "holding 12", *way])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (told["address"], told["words"]) == (12, [70_123 % 65_536, 70_123 // 65_536])
    assert told["matches"][0] == {
        "value": 70.123,
        "settings": "{register: holding 12, type: uint32, word_order: little, scale: 0.001}",
    }


async def test_probe_says_when_a_table_is_refused(capsys):
    async with modbus_device({"holding": {0: "0001"}}) as port:
        code = await asyncio.to_thread(
            commands.main, ["probe", "input 0", "--tcp", f"127.0.0.1:{port}"]
        )

    assert code == 1
    assert "does not know this table" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["coil 7", "--tcp", "127.0.0.1:1"],
        ["holding 40001", "--tcp", "127.0.0.1:1"],
        ["holding 1", "--tcp", "127.0.0.1:1", "--count", "99"],
        ["holding 1", "--tcp", "127.0.0.1:1", "--display", "much"],
        ["holding 1", "--tcp", "127.0.0.1:1", "--display", "NaN"],
    ],
)
def test_probe_refuses_what_makes_no_sense(words, capsys):
    assert commands.main(["probe", *words]) == 2
    assert capsys.readouterr().err


class Hub:
    """The hub's side of joining, over real HTTP."""

    def __init__(self, status, answer):
        self.status = status
        self.answer = answer
        self.asked = []

    async def talk(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.asked.append((head.split(b"\r\n")[0], json.loads(await reader.readexactly(length))))
        body = json.dumps(self.answer).encode()
        phrase = HTTPStatus(self.status).phrase
        writer.write(f"HTTP/1.1 {self.status} {phrase}\r\nContent-Length: {len(body)}\r\n".encode())
        writer.write(b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async def joined(self, folder, code="ab12-CD34-ef56-GH78"):
        async with serving(self.talk) as port:
            url = f"http://127.0.0.1:{port}"
            words = ["join", code, "--hub", url, "--agent", "line-2", "--folder", str(folder)]
            return await asyncio.to_thread(commands.main, words)


GRANT = {
    "site": "ota-precision",
    "agent": "line-2",
    "broker": {
        "url": "mqtts://hub.example:8883",
        "username": "ota-precision.line-2",
        "password": "very-secret-indeed",
        "ca_pem": "-----BEGIN CERTIFICATE-----\n…\n",
    },
}


async def test_a_code_becomes_files_that_only_their_owner_reads(tmp_path, capsys):
    hub = Hub(200, GRANT)

    assert await hub.joined(tmp_path / "etc") == 0

    said = capsys.readouterr()
    assert hub.asked == [
        (b"POST /api/v1/enrol HTTP/1.1", {"code": "AB12CD34EF56GH78", "agent": "line-2"})
    ]
    password = tmp_path / "etc" / "password"
    assert password.read_text(encoding="utf-8") == "very-secret-indeed\n"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert "very-secret-indeed" not in said.out + said.err
    settings = tmp_path / "etc" / "edge.yaml"
    assert "very-secret-indeed" not in settings.read_text(encoding="utf-8")
    loaded = load(settings, {})
    assert loaded.password == "very-secret-indeed"
    assert loaded.config.broker.username == "ota-precision.line-2"
    assert loaded.config.broker.ca_file == tmp_path / "etc" / "ca.pem"
    assert sorted(one.name for one in (tmp_path / "etc").iterdir()) == [
        "ca.pem", "edge.yaml", "password",
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_writes_belongs_to_the_user_whose_folder_it_is(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    os.chown(folder, 4_711, 4_712)

    assert await Hub(200, GRANT).joined(folder) == 0

    owners = {one.name: (one.stat().st_uid, one.stat().st_gid) for one in folder.iterdir()}
    assert owners == dict.fromkeys(("ca.pem", "edge.yaml", "password"), (4_711, 4_712))


async def test_settings_that_are_there_survive_joining(tmp_path, capsys):
    (tmp_path / "edge.yaml").write_text("mine", encoding="utf-8")

    assert await Hub(200, GRANT).joined(tmp_path) == 0

    assert (tmp_path / "edge.yaml").read_text(encoding="utf-8") == "mine"
    assert "left alone" in capsys.readouterr().out


async def test_a_refused_code_says_why_and_writes_nothing(tmp_path, capsys):
    hub = Hub(404, {"detail": "There is no such code."})

    assert await hub.joined(tmp_path / "etc") == 1

    assert "There is no such code. Ask for a new code" in capsys.readouterr().err
    assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize("answer", [{}, {"site": "A b"}, [], {**GRANT, "site": "../etc"}])
async def test_an_answer_that_is_no_grant_writes_nothing(answer, tmp_path, capsys):
    assert await Hub(200, answer).joined(tmp_path / "etc") == 1

    assert "answers like no hub of ours" in capsys.readouterr().err
    assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize("url", ["http://hub.example", "ftp://hub.example", "hub.example", ""])
def test_a_code_never_crosses_a_network_in_clear(url):
    with pytest.raises(join.JoinError):
        join.redeem(url, "x", "line-1")


def test_a_hub_that_is_not_there_is_said(tmp_path, capsys):
    words = ["join", "x", "--hub", "http://127.0.0.1:1", "--folder", str(tmp_path)]

    assert commands.main(words) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_joining_by_hand_needs_no_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getpass", lambda _prompt: "typed-by-hand")
    words = ["join", "--by-hand", "--site", "kamata", "--broker", "mqtt://10.0.0.2"]

    assert commands.main([*words, "--folder", str(tmp_path)]) == 0

    loaded = load(tmp_path / "edge.yaml", {})
    assert (loaded.password, loaded.config.broker.username) == ("typed-by-hand", "kamata")
