"""Many clients book the same hours at once, the hub is killed meanwhile, and the rows are counted.

`make chaos ARGS="--bookings 100000 [--store postgresql]"`. Everything is real: `machikoba hub run`
processes, HTTP, SQLite's file or a PostgreSQL server with two hubs on it, kill -9. What was booked
is judged on the raw rows by a sweep of its own, over the whole course of events: at no moment may
more be booked than there is. What clients were told is judged against the rows too.
"""

import contextlib
import http.client
import json
import random
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml

from tests.brokers import free_port, wait_until
from tests.postgres import running_cluster
from tests.system.plant import Program

UNITS = {"m-1": 1, "m-2": 1, "m-3": 1, "m-4": 3}
SITE = "ota"
CLIENTS = 16
RETRY_S = 0.05
GIVE_UP_S = 60.0
HOUR_S = 3600
TTL_S = 86_400
CHAIN_SHARE = 0.15


class Hubs:
    """Hub processes over one store. They stay on their ports over kills and restarts."""

    def __init__(self, folder, store_url, count):
        self._folder = Path(folder)
        self.ports = [free_port() for _ in range(count)]
        self._programs = []
        for number, port in enumerate(self.ports):
            place = self._folder / f"hub-{number}"
            place.mkdir()
            config = {
                "listen": f"127.0.0.1:{port}",
                "access": "open",
                "data": str(place),
                "broker": {"url": "mqtt://127.0.0.1:1"},
                "sites": {SITE: {"name": {"en": "Ota"}}},
                "limits": {"open_holds": 10_000_000, "idempotency_keys": 10_000_000},
            }
            if store_url is not None:
                config["store"] = {"url": store_url}
            file = place / "hub.yaml"
            file.write_text(yaml.safe_dump(config))
            words = ["hub", "--log-level", "WARNING", "run", "--config", file]
            words += ["--ready-file", place / "port"]
            self._programs.append(Program(f"hub-{number}", words, place))

    @property
    def sqlite_file(self):
        return self._folder / "hub-0" / "coordination.sqlite"

    def start(self, number=0):
        ready = self._folder / f"hub-{number}" / "port"
        ready.unlink(missing_ok=True)
        program = self._programs[number]
        program.start()
        wait_until(
            lambda: ready.exists() or not program.running, f"hub {number} to listen", GIVE_UP_S
        )
        assert program.running, program.log()[-3000:]

    def kill(self, number):
        self._programs[number].kill()

    def log(self):
        return "".join(program.log() for program in self._programs)

    def end(self):
        for program in self._programs:
            program.kill()


class Line:
    """One client's connection. What gets no answer is asked again until it gets one."""

    def __init__(self, port):
        self._port = port
        self._link = None
        self.lost = 0

    def ask(self, method, path, body=None, headers=None):
        """Give status, headers and body; and how often the answer got lost."""
        until = time.monotonic() + GIVE_UP_S
        lost = 0
        while True:
            try:
                status, head, told = self._once(method, path, body, headers or {})
                if status != 503:
                    return status, head, told, lost
            except (OSError, http.client.HTTPException):
                self.close()
                lost += 1
                self.lost += 1
            assert time.monotonic() < until, f"{method} {path}: no answer in {GIVE_UP_S} s"
            time.sleep(RETRY_S)

    def close(self):
        if self._link is not None:
            self._link.close()
            self._link = None

    def _once(self, method, path, body, headers):
        if self._link is None:
            self._link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        raw = None if body is None else json.dumps(body).encode()
        if raw is not None:
            headers = {**headers, "Content-Type": "application/json"}
        self._link.request(method, path, raw, headers)
        answer = self._link.getresponse()
        text = answer.read()
        return (
            answer.status,
            {n.lower(): v for n, v in answer.headers.items()},
            json.loads(text) if text else None,
        )


@dataclass
class Told:
    """What one client was told."""

    counts: Counter = field(default_factory=Counter)
    made: dict = field(default_factory=dict)
    """By id: the status that the client believes it to have."""
    differing: list = field(default_factory=list)
    """Requests that got another answer when they were repeated."""
    strange: list = field(default_factory=list)


class Client(threading.Thread):
    """Books, repeats itself, confirms and gives back, as fast as it is answered."""

    def __init__(self, number, plan):
        super().__init__(name=f"client-{number}", daemon=True)
        self._number = number
        self._plan = plan
        self._rng = random.Random(f"{plan.seed}-{number}")
        self._line = Line(plan.ports[number % len(plan.ports)])
        self.told = Told()
        self.failure = None
        self._answers = {}
        self._tags = {}

    def run(self):
        try:
            while self._plan.next_round():
                self._hold_with_everybody()
                for _ in range(2):
                    self._rng.choice((self._repeat, self._repeat, self._change, self._hold))()
        except BaseException as error:  # noqa: BLE001 (told to whoever waits for this thread)
            self.failure = error
            self._plan.barrier.abort()
        finally:
            self._line.close()

    def _hold_with_everybody(self):
        """Ask for what every other client asks for at the same instant."""
        number = self._plan.meet()
        self._hold(random.Random(f"{self._plan.seed}-{number}"))

    def _hold(self, rng=None):
        rng = rng or self._rng
        body = self._plan.wanted(rng)
        key = f"{self._number}-{len(self._answers)}"
        told = self._send(key, body)
        self._answers[key] = (body, told)

    def _send(self, key, body):
        status, head, told, lost = self._line.ask(
            "POST", "/api/v1/reservations", body, {"Idempotency-Key": key}
        )
        self._count(f"hold-{status}", lost)
        if status == 201:
            self.told.made.setdefault(told["id"], "held")
            self._tags.setdefault(told["id"], head["etag"])
        elif status != 409:
            self.told.strange.append((status, told))
        return status, told

    def _repeat(self):
        if not self._answers:
            return
        key = self._rng.choice(list(self._answers)[-50:])
        body, told = self._answers[key]
        again = self._send(key, body)
        self.told.counts["repeated"] += 1
        if again != told:
            self.told.differing.append((key, told, again))

    def _change(self):
        """Confirm, extend or give back; when the answer got lost, look what has become of it."""
        live = [id_ for id_ in self._tags if self.told.made[id_] in {"held", "confirmed"}]
        if not live:
            return
        id_ = self._rng.choice(live)
        held = self.told.made[id_] == "held"
        action = self._rng.choice(
            ["confirm", "extend", "release", "release"] if held else ["release"]
        )
        body = {"ttl_s": TTL_S} if action == "extend" else None
        path = f"/api/v1/reservations/{id_}"
        status, head, told, lost = self._line.ask(
            "POST", f"{path}/{action}", body, {"If-Match": self._tags[id_]}
        )
        self._count(f"{action}-{status}", lost)
        if lost and status in {409, 412}:
            status, head, told, _ = self._line.ask("GET", path)
        if status != 200:
            self.told.strange.append((action, status, told))
            return
        self._tags[id_] = head["etag"]
        expected = {"confirm": "confirmed", "release": "released", "extend": "held"}[action]
        if told["status"] != expected:
            self.told.strange.append((action, expected, told))
        self.told.made[id_] = told["status"]

    def _count(self, what, lost):
        self.told.counts[what] += 1
        self.told.counts["operations"] += 1
        self.told.counts["lost answers"] += lost


class Plan:
    """What is wanted when: the same few hours by everybody, moving on as they fill up."""

    def __init__(self, ports, operations, seed, clients):
        self.workers = []
        self.ports = ports
        self.seed = seed
        self._operations = operations
        self._done = 0
        self._began_s = int(time.time()) // HOUR_S * HOUR_S + 48 * HOUR_S
        self._round = 0
        self.barrier = threading.Barrier(clients, action=self._turn)

    @property
    def done(self):
        """How much of it is done, from 0 to 1."""
        return self._done / self._operations

    def next_round(self):
        return self._done < self._operations

    def meet(self):
        """Wait for everybody; give the number of the round, the same to all."""
        self.barrier.wait(GIVE_UP_S * 2)
        return self._round

    def _turn(self):
        """Between two rounds, while everybody waits."""
        self._round += 1
        self._done = sum(worker.told.counts["operations"] for worker in self.workers)

    def wanted(self, rng):
        first = self._round * 2
        if rng.random() < CHAIN_SHARE:
            machines = rng.sample(sorted(UNITS), 2)
            return {"steps": [self._step(rng, m, first) for m in machines], "ttl_s": TTL_S}
        machine = rng.choice(sorted(UNITS))
        return {**self._step(rng, machine, first), "ttl_s": TTL_S}

    def _step(self, rng, machine, first):
        start_s = self._began_s + (first + rng.randrange(8)) * HOUR_S // 4
        segments = [(start_s, start_s + rng.randrange(1, 5) * HOUR_S // 4)]
        if rng.random() < 0.3:
            segments.append((segments[0][1] + HOUR_S // 4, segments[0][1] + HOUR_S // 2))
        return {
            "site": SITE,
            "machine": machine,
            "units": rng.randint(1, UNITS[machine]),
            "segments": [{"start": written(s), "end": written(e)} for s, e in segments],
        }


def written(time_s):
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- the judge -----------------------------------------------------------------------------------


def rows_of_sqlite(file):
    link = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    with contextlib.closing(link):
        return read_rows(lambda words: link.execute(words).fetchall())


def rows_of_postgresql(cluster, url):
    with cluster.connect(url.partition("?")[0].rpartition("/")[2]) as link:
        return read_rows(lambda words: link.execute(words).fetchall())


def read_rows(ask):
    """Read what the judge needs, in words of its own."""
    return {
        "events": ask("SELECT seq, type, subject, machine FROM event ORDER BY seq"),
        "segments": ask(
            "SELECT reservation, machine, start_ms, end_ms, units FROM reservation_segment"
        ),
        "reservations": ask("SELECT id, status, version FROM reservation"),
        "keys": ask("SELECT count(*) FROM idempotency_key")[0][0],
    }


def judge(rows):
    """Play the events back; give each moment at which more was booked than there is."""
    segments = defaultdict(list)
    for id_, machine, start_ms, end_ms, units in rows["segments"]:
        segments[id_].append((machine, start_ms, end_ms, units))
    booked = defaultdict(dict)
    double, seen = [], set()
    for seq, kind, id_, _ in rows["events"]:
        if kind == "reservation.held" and id_ not in seen:
            seen.add(id_)
            for number, (machine, *span) in enumerate(segments[id_]):
                booked[machine][id_, number] = span
            double += [
                (seq, id_, machine)
                for machine in {machine for machine, *_ in segments[id_]}
                if most_at_once(booked[machine].values()) > UNITS[machine]
            ]
        elif kind.rpartition(".")[2] in {"released", "expired", "cancelled", "done"}:
            for number, (machine, *_) in enumerate(segments[id_]):
                booked[machine].pop((id_, number), None)
    return double


def most_at_once(spans):
    """Give the most units at one instant: an end comes before a start at the same one."""
    edges = sorted(
        edge for start, end, units in spans for edge in ((start, 1, units), (end, 0, -units))
    )
    level = most = 0
    for _, _, units in edges:
        level += units
        most = max(most, level)
    return most


def compare(clients, rows):
    """Give what clients were told and the rows do not say, and rows nobody was told of."""
    stored = {id_: status for id_, status, _ in rows["reservations"]}
    told = {id_: status for client in clients for id_, status in client.told.made.items()}
    wrong = [
        (id_, status, stored.get(id_)) for id_, status in told.items() if stored.get(id_) != status
    ]
    return wrong, sorted(set(stored) - set(told))


# -- the run -------------------------------------------------------------------------------------


def run(operations, *, store="sqlite", seed=1, kills=3, clients=CLIENTS, folder=None):
    """Book until so many operations were answered; give the report."""
    with contextlib.ExitStack() as stack:
        url, cluster = None, None
        if store == "postgresql":
            cluster = stack.enter_context(running_cluster("fsync=off"))
            url = cluster.new_database()
        hubs = Hubs(folder, url, 1 if url is None else 2)
        stack.callback(hubs.end)
        hubs.start()
        make_machines(hubs.ports[0])
        for number in range(1, len(hubs.ports)):
            hubs.start(number)
        plan = Plan(hubs.ports, operations, seed, clients)
        plan.workers = workers = [Client(number, plan) for number in range(clients)]
        began = time.monotonic()
        for worker in workers:
            worker.start()
        killed = kill_now_and_then(hubs, plan, workers, kills, random.Random(seed))
        for worker in workers:
            worker.join()
        seconds = time.monotonic() - began
        failures = [worker.failure for worker in workers if worker.failure]
        assert not failures, (failures, hubs.log()[-3000:])
        rows = rows_of_sqlite(hubs.sqlite_file) if url is None else rows_of_postgresql(cluster, url)
        return report(workers, rows, store=store, seed=seed, seconds=seconds, killed=killed)


def make_machines(port):
    line = Line(port)
    for machine, units in UNITS.items():
        path = f"/api/v1/machines/{SITE}/{machine}/entry"
        body = {"capacity_units": units, "name": {"en": machine}}
        status, _, told, _ = line.ask("PUT", path, body, {"If-None-Match": "*"})
        assert status in {200, 201}, told
    line.close()


def kill_now_and_then(hubs, plan, workers, kills, rng):
    """Kill a hub at moments spread over the run, and start it again at once."""
    killed = 0
    for number in range(1, kills + 1):
        due = number / (kills + 1)
        while plan.done < due and any(worker.is_alive() for worker in workers):
            time.sleep(0.01)
        if not any(worker.is_alive() for worker in workers):
            break
        time.sleep(rng.random() * 0.05)
        victim = rng.randrange(len(hubs.ports))
        hubs.kill(victim)
        hubs.start(victim)
        killed += 1
    return killed


def report(workers, rows, *, store, seed, seconds, killed):
    counts = sum((worker.told.counts for worker in workers), Counter())
    wrong, untold = compare(workers, rows)
    differing = [each for worker in workers for each in worker.told.differing]
    strange = [each for worker in workers for each in worker.told.strange]
    double = judge(rows)
    return {
        "store": store,
        "seed": seed,
        "clients": len(workers),
        "hubs": 1 if store == "sqlite" else 2,
        "operations": counts["operations"],
        "duration_s": round(seconds, 1),
        "rate_per_s": round(counts["operations"] / seconds, 1),
        "kills": killed,
        "lost_answers": counts["lost answers"],
        "repeated": counts["repeated"],
        "answers": {key: n for key, n in sorted(counts.items()) if "-" in key},
        "reservations": len(rows["reservations"]),
        "double_bookings": len(double),
        "differing_answers": len(differing),
        "told_but_not_stored": len(wrong),
        "stored_but_not_told": len(untold),
        "unexpected_answers": len(strange),
        "examples": [str(each)[:300] for each in (*double, *differing, *wrong, *untold, *strange)][
            :5
        ],
    }


BAD = (
    "double_bookings",
    "differing_answers",
    "told_but_not_stored",
    "stored_but_not_told",
    "unexpected_answers",
)


def clean(told):
    """Tell whether nothing went wrong."""
    return not any(told[name] for name in BAD)
