"""What the README says is true: every command in it runs, every file it names is there."""

import json
import os
import re
import shlex
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.brokers import free_port, wait_until

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LIVE_S = 90
ASK = (
    "curl -s -H 'Content-Type: application/json' "
    """-d '{"steps": [{"process": "milling", "quantity": 50, "cycle_s": 90}]}' """
    "'http://127.0.0.1:8080/api/v1/capacity/search'"
)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands():
    return [line for block in blocks("sh") for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """`make demo` as in the README, on a port of its own."""
    port = free_port()
    words = f"--port {port} --data {tmp_path_factory.mktemp('demo')}"
    log = tmp_path_factory.mktemp("log") / "demo.log"
    with log.open("w") as out:
        program = subprocess.Popen(
            ["make", "demo", f"ARGS={words}"], cwd=ROOT, stdout=out, start_new_session=True
        )
    try:
        wait_until(lambda: f"http://127.0.0.1:{port}/" in log.read_text(), "the demo", LIVE_S)
        yield port, program
    finally:
        os.killpg(program.pid, signal.SIGINT)  # as Ctrl-C does: everybody in the foreground
        program.wait(30)


def test_every_command_of_the_readme_is_one_that_is_run_here():
    assert commands() == [
        "make demo",
        ".venv/bin/machikoba agent check --offline --config deploy/examples/edge.yaml",
        ASK,
        "make test",
    ]


def test_make_demo_leads_to_a_page_with_live_machines(demo):
    port, _ = demo
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.status == 200
        assert "content-security-policy" in answer.headers
        page = answer.read().decode()
    assert "/assets/" in page, "the page is not built"
    found = ask(port, "curl -s 'http://127.0.0.1:8080/api/v1/availability'")
    assert {item["connectivity"] for item in found["items"]} == {"online"}
    assert len(found["items"]) == 16


def ask(port, command):
    words = [word.replace(":8080/", f":{port}/") for word in shlex.split(command)]
    return json.loads(subprocess.run(words, capture_output=True, check=True, timeout=30).stdout)


def test_asking_who_has_free_capacity_answers_with_what_the_readme_shows(demo):
    port, _ = demo
    shown = json.loads(blocks("json")[0])
    (command,) = [line for line in commands() if line.startswith("curl")]

    found = ask(port, command)

    assert set(found) == set(shown)
    assert found["offers"], found["rejected"]
    assert set(shown["offers"][0]) <= set(found["offers"][0])
    assert set(shown["rejected"][0]) == set(found["rejected"][0])
    assert {each["code"] for each in found["rejected"]} == {"process"}
    assert len(found["offers"]) + found["rejected_total"] == 16


def test_the_short_answer_says_who_is_free_and_for_how_long(demo):
    port, _ = demo
    found = ask(port, "curl -s 'http://127.0.0.1:8080/api/v1/availability'")["items"]

    assert all(item["free_hours"]["d7"] > 0 for item in found)
    assert {item["state"] for item in found if item["free_now"]} <= {"idle"}


def test_the_readme_s_search_by_command_prints_a_table_and_its_offer_can_be_held(demo):
    port, _ = demo
    (words,) = re.findall(r"`machikoba (hub capacity search .*?)`", README)
    url = ["--url", f"http://127.0.0.1:{port}"]

    table = run("hub", *shlex.split(words)[1:], *url)
    offer = table.splitlines()[1].split()[0]
    held = run("hub", "reserve", offer, "--ttl-s", "60", *url).splitlines()[1].split()
    given_back = run("hub", "release", held[0], *url)

    assert held[1] == "held"
    assert "released" in given_back


def run(*words):
    return subprocess.run(
        [ROOT / ".venv/bin/machikoba", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_every_address_of_the_readme_answers(demo):
    port, _ = demo
    for url in re.findall(r"<http://127\.0\.0\.1:8080(/[^>]*)>", README):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{url}", timeout=10) as answer:
            assert answer.status == 200, url


def test_make_demo_can_check_itself(tmp_path):
    (words,) = re.findall(r'^`make demo ARGS="(.*?)"`', README, re.MULTILINE)

    result = subprocess.run(
        ["make", "demo", f"ARGS={words} --port 0 --limit-s 60 --data {tmp_path / 'demo'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(" online") == 16


def test_the_example_is_checked_without_a_network():
    (command,) = [line for line in commands() if "agent check" in line]

    result = subprocess.run(
        shlex.split(command), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_first_machine_of_the_readme_is_a_valid_file(tmp_path):
    path = tmp_path / "edge.yaml"
    path.write_text(blocks("yaml")[0])
    words = [".venv/bin/machikoba", "agent", "check", "--offline", "--config", path]

    result = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "no mistakes" in result.stdout


def test_make_test_runs_every_check():
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    for check in ("ruff format --check", "ruff check", "mypy", "lint-imports", "-m pytest"):
        assert check in planned, check
    assert "exec make test" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("*.md")))
def test_every_link_of_the_pages_leads_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), f"{page} names {target}"


@pytest.mark.parametrize("room", ["gateway", "edge_agents", "hub", "simulators"])
def test_every_room_says_what_belongs_there(room):
    first = (ROOT / room / "__init__.py").read_text()

    assert first.startswith('"""')
    assert len(first) > 200


def test_nothing_in_the_project_names_a_machine_or_an_index():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if Path(name).suffix in {".lock", ".txt", ".json", ".toml", ".yaml", ".npmrc", ""}:
            text = (ROOT / name).read_text(errors="ignore")
            assert "files.pythonhosted" not in text, name
            assert '"resolved"' not in text, name
            assert "--index-url" not in text, name
