"""A receiver is told everything in order although the hub is killed and the receiver stumbles."""

import json
import random
import urllib.request
from itertools import pairwise

import pytest
import yaml

from tests.brokers import wait_until
from tests.hub.notices.receiver import Receiver, closes, response
from tests.system.plant import Program

pytestmark = pytest.mark.system

JOBS = 40
KILLS = 2


class Hub:
    """A real hub without a broker, which can be killed."""

    def __init__(self, folder, receiver_port):
        self.folder = folder
        settings = {
            "listen": "127.0.0.1:0",
            "access": "open",
            "data": str(folder / "data"),
            "broker": {"url": "mqtt://127.0.0.1:1"},
            "sites": {"ota": {"name": {"en": "Ota"}}},
            "notices": {
                "webhooks": {
                    "allow_private": [{"network": "127.0.0.0/8", "ports": [receiver_port]}]
                }
            },
        }
        (folder / "hub.yaml").write_text(yaml.safe_dump(settings))
        words = ["hub", "run", "--config", folder / "hub.yaml"]
        self.program = Program("hub", [*words, "--ready-file", folder / "hub.port"], folder)

    def start(self):
        ready = self.folder / "hub.port"
        ready.unlink(missing_ok=True)
        self.program.start()
        wait_until(ready.exists, f"the hub to listen\n{self.program.log()[-2000:]}", 40)
        self.port = int(ready.read_text())

    def ask(self, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (our hub)
            return json.load(answer)


def numbers(receiver):
    return [int(json.loads(request.body)["id"]) for request in list(receiver.requests)]


def test_nothing_is_lost_and_the_order_is_kept(tmp_path):
    rng = random.Random(7)
    odd = [500, response(429, "Retry-After: 1"), closes, 204, 204, 204]
    with Receiver() as receiver:
        hub = Hub(tmp_path, receiver.port)
        try:
            hub.start()
            hook = hub.ask("/webhooks", {"url": receiver.url})
            receiver.answers = [rng.choice(odd) for _ in range(12)]
            for n in range(JOBS):
                body = {"site": "ota", "number": f"A-{n}", "part": "x", "quantity": 1}
                hub.ask("/jobs", body | {"status": "draft"})
                if n % (JOBS // KILLS) == JOBS // KILLS - 1:
                    hub.program.kill()
                    hub.start()
            told = [int(e["id"]) for e in hub.ask("/events?after=0")["items"]]
            assert len(told) >= JOBS
            wait_until(
                lambda: set(numbers(receiver)) >= set(told),
                f"all events to arrive\n{hub.program.log()[-2000:]}",
                60,
            )
            wait_until(
                lambda: hub.ask(f"/webhooks/{hook['id']}")["behind"] == 0, "the place to move", 20
            )
        finally:
            hub.program.stop()

    heard = numbers(receiver)
    assert all(after - before <= 1 for before, after in pairwise(heard)), heard
    first_seen = list(dict.fromkeys(heard))
    assert first_seen == sorted(first_seen)
    ids = {}
    for request in receiver.requests:
        ids.setdefault(json.loads(request.body)["id"], set()).add(request.headers["webhook-id"])
    assert all(len(each) == 1 for each in ids.values())
