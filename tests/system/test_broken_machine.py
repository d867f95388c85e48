"""A machine breaks down: within seconds what is booked on it is flagged, with a way out.

And nobody is offered it before its likely repair. Real machines, agents, broker and hub; what a
planner asks is asked through the client.
"""

import datetime as dt
import http.client
import json
import time

import pytest

from hub.client import MachikobaClient, ProblemError
from tests.brokers import wait_until
from tests.system.plant import Plant

pytestmark = pytest.mark.system
AT_RISK_S = 5.0
SITE = "ota-precision"


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """Two sites; every machine of the first can turn, as its owner says over HTTP."""
    with Plant(tmp_path_factory.mktemp("plant"), sites=2, machines=4) as plant:
        wait_until(plant.all_live, "all machines to be live", 40)
        for site, machine in plant.machines:
            if site == SITE:
                able = {"capabilities": [{"process": "turning", "cycle_s": 60}]}
                put(plant, f"/api/v1/machines/{site}/{machine}/capabilities", able)
        yield plant


def put(plant, path, body):
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    content = json.dumps(body).encode()
    link = http.client.HTTPConnection("127.0.0.1", plant.port, timeout=10)
    link.request("PUT", path, content, headers)
    assert link.getresponse().status == 200
    link.close()


@pytest.fixture
def client(plant):
    return MachikobaClient(f"http://127.0.0.1:{plant.port}")


def searched(client, **more):
    step = {"process": "turning", "quantity": 10}
    return client.search({"steps": [step], "max_offers": 20, "sites": [SITE], **more})


def rfc3339(time_ms):
    moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def risks(plant, id_):
    told = plant.get("/api/v1/events?after=0&types=reservation.at_risk") or {"items": []}
    return [event for event in told["items"] if event["subject"] == id_]


def test_a_breakdown_flags_what_is_booked_within_seconds_and_shows_a_way_out(plant, client):
    offer = next(o for o in searched(client)["offers"] if "repair" not in o["basis"][0])
    site, machine = offer["site"], offer["machine"]
    held = client.hold({"offer_id": offer["offer_id"], "ttl_s": 3600})
    assert client.confirm(held["id"])["risk"] is None

    plant.order(do="force", site=site, machine=machine, phase="down", for_ms=600_000)
    wait_until(
        lambda: plant.availability()[site, machine]["state"] == "down", "the hub to see it", 30
    )
    seen = time.monotonic()
    wait_until(lambda: risks(plant, held["id"]), "the booking to be flagged", 30)
    took_s = time.monotonic() - seen

    assert took_s <= AT_RISK_S
    assert client.reservation(held["id"])["risk"] == "machine-down"
    (event, *_) = risks(plant, held["id"])
    (way, *_) = event["data"]["alternatives"]
    assert all((step["site"], step["machine"]) != (site, machine) for step in way)
    times = [
        {
            "site": step["site"],
            "machine": step["machine"],
            "units": step["units"],
            "segments": [
                {"start": rfc3339(start), "end": rfc3339(end)} for start, end in step["segments_ms"]
            ],
        }
        for step in way
    ]
    assert client.hold({"steps": times})["status"] == "held"


def test_a_broken_machine_is_offered_to_nobody_before_its_likely_repair(plant, client):
    machine = max(machine for site, machine in plant.machines if site == SITE)
    plant.order(do="force", site=SITE, machine=machine, phase="down", for_ms=600_000)
    wait_until(
        lambda: plant.availability()[SITE, machine]["state"] == "down", "the hub to see it", 30
    )

    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1.5)
    found = searched(client, due=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))

    assert machine not in {offer["machine"] for offer in found["offers"]}
    assert {r["machine"]: r["code"] for r in found["rejected"]}[machine] == "down"
    live = plant.availability()[SITE, machine]
    assert live["free_now"] is False


def test_of_two_planners_who_want_the_same_one_is_shown_another_way(client):
    offer = searched(client)["offers"][0]
    client.hold({"offer_id": offer["offer_id"]})

    with pytest.raises(ProblemError) as refused:
        client.hold({"offer_id": offer["offer_id"]})

    assert refused.value.code == "capacity-conflict"
    assert client.hold({"steps": refused.value.alternatives[0]["steps"]})["status"] == "held"
