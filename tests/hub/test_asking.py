"""Asked from the command line, a hub answers in tables for people and in codes for scripts."""

import json

import pytest

from hub import commands
from hub.api import create_app
from hub.coordination.directory.directory import Capability
from hub.store import Store
from tests.hub.coordination.towns import Region, lunch, north_of_home, shift
from tests.hub.serving import served

GOOD, FAILED, WRONG_USE, NOTHING, NOT_ALLOWED, TAKEN = range(6)
SEARCH = ["capacity", "search", "--process", "milling-3axis", "--quantity", "100"]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("region")
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    region = Region(store, folder / "history")
    region.site("a", north_of_home(1), shift(), lunch())
    region.machine("a", "mc-1", Capability("milling-3axis", cycle_s=60.0))
    region.context.capacity.board.refresh()
    with served(create_app(region.context)) as port:
        yield port
    region.close()
    store.close()


@pytest.fixture
def ask(port, capsys, monkeypatch):
    """Run a command; give its exit code, what it printed and what it complained of."""
    monkeypatch.setenv("MACHIKOBA_HUB_URL", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("MACHIKOBA_HUB_KEY", raising=False)

    def run(*words):
        try:
            code = commands.main(words)
        except SystemExit as left:
            code = left.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_a_search_is_a_table_with_the_best_first(ask):
    code, out, _ = ask(*SEARCH, "--deliver-to", "35.56,139.72", "--mass-kg", "0.5")

    head, row = out.splitlines()
    assert code == GOOD
    assert head.split("  ")[0] == "offer"
    assert "a/mc-1 (100)" in row
    assert "2026-11-19 00:10Z" in row
    assert row.index("a/mc-1") == head.index("machines")


def test_nothing_found_has_a_code_of_its_own_and_says_why_when_asked(ask):
    code, out, _ = ask(*SEARCH, "--tolerance-it", "5", "--why")

    assert code == NOTHING
    assert "tolerance" in out
    assert "nobody has said how finely it works" in out


def test_with_json_the_answer_is_the_hubs_own(ask):
    code, out, _ = ask(*SEARCH, "--json")

    assert code == GOOD
    assert json.loads(out)["offers"][0]["machine"] == "mc-1"


def test_a_whole_order_comes_from_a_file(ask, tmp_path):
    order = tmp_path / "order.json"
    order.write_text(json.dumps({"steps": [{"process": "フライス加工", "quantity": 5}]}))

    assert ask("capacity", "search", "--order", str(order))[0] == GOOD


def test_from_an_offer_to_a_booking_and_back(ask):
    offer = json.loads(ask(*SEARCH, "--json")[1])["offers"][0]["offer_id"]

    code, out, _ = ask("reserve", offer, "--reference", "lot 7", "--json")
    held = json.loads(out)["id"]
    assert code == GOOD
    assert ask("reserve", offer)[0] == TAKEN
    assert "a/mc-1" in ask("reserve", offer)[2]
    assert ask("extend", held, "--ttl-s", "1800")[0] == GOOD
    assert "confirmed" in ask("confirm", held)[1]
    assert "lot 7" in ask("reservations", "--mine")[1]
    assert "released" in ask("release", held)[1]
    assert ask("release", held)[0] == TAKEN


def test_times_of_a_machine_are_held_without_an_offer(ask):
    segment = "2026-11-20T01:00:00Z/2026-11-20T02:00:00Z"

    code, out, _ = ask("reserve", "a/mc-1", "--segment", segment, "--key", "mine-1", "--json")
    again = ask("reserve", "a/mc-1", "--segment", segment, "--key", "mine-1", "--json")[1]

    assert code == GOOD
    assert json.loads(out)["id"] == json.loads(again)["id"]
    assert ask("release", json.loads(out)["id"])[0] == GOOD


def test_machines_and_their_hours(ask):
    code, out, _ = ask("availability", "--free")
    assert (code, out.splitlines()[1].split()[:3]) == (GOOD, ["a/mc-1", "idle", "yes"])
    assert ask("availability", "--site", "nowhere")[0] == NOTHING

    code, out, _ = ask("capacity", "show", "a/mc-1", "--bucket", "shift")
    assert code == GOOD
    assert len(out.splitlines()) > 5


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["capacity"], WRONG_USE),
        (["capacity", "search"], WRONG_USE),
        (["capacity", "search", "--order", "/nothing/here.json"], WRONG_USE),
        ([*SEARCH[:-1], "0"], WRONG_USE),
        ([*SEARCH, "--deliver-to", "here"], WRONG_USE),
        ([*SEARCH, "--envelope-mm", "1x2"], WRONG_USE),
        ([*SEARCH, "--due", "tomorrow"], WRONG_USE),
        ([*SEARCH, "--url", "nowhere"], WRONG_USE),
        (["capacity", "show", "mc-1"], WRONG_USE),
        (["capacity", "show", "a/none"], NOT_ALLOWED),
        (["reserve", "mc-1", "--segment", "2026-11-20T01:00:00Z/2026-11-20T02:00:00Z"], WRONG_USE),
        (["reserve", "a/mc-1", "--segment", "now"], WRONG_USE),
        (["reserve", "no-such-offer"], NOT_ALLOWED),
        (["confirm", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], NOT_ALLOWED),
        (["confirm", "nothing"], WRONG_USE),
    ],
)
def test_each_failure_has_its_code_and_one_readable_complaint(ask, words, code):
    found, out, err = ask(*words)

    assert found == code, err
    assert err
    assert out == ""
    assert "Traceback" not in err


def test_a_hub_that_is_not_there_is_told_by_its_address(ask, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("hub.client.client.PAUSE_S", 0.0)

    code, _, err = ask("availability", "--url", "http://127.0.0.1:9")

    assert code == FAILED
    assert "http://127.0.0.1:9" in err
