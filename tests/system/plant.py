"""A whole region of real processes on this box, with every part free to be killed.

Each program runs as an operator would start it (`machikoba …`), in a process group of its own that
dies with the test. Each agent and the hub reach the broker through a proxy, so that links can be
cut one by one.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from tests.brokers import Mosquitto, wait_until
from tests.proxy import Proxy

PR_SET_PDEATHSIG = 1
MACHIKOBA = [sys.executable, "-m", "gateway.cli"]


def _die_with_parent():
    ctypes.CDLL("libc.so.6").prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Program:
    """One `machikoba …` process that can be killed and started again with the same words."""

    def __init__(self, name, words, folder):
        self.name = name
        self._words = [*MACHIKOBA, *map(str, words)]
        self._log = Path(folder) / f"{name}.log"
        self._process = None

    def start(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._words,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (Linux only, no threads in the child)
            )

    @property
    def pid(self):
        return self._process.pid

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def kill(self):
        """End it and its children as a power cut would."""
        self._signal(signal.SIGKILL)

    def stop(self, deadline_s=20):
        """Ask it to end, and return its exit code."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(deadline_s)
        code = None if self._process is None else self._process.poll()
        self._signal(signal.SIGKILL)
        return code

    def log(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _signal(self, number):
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait()


class Plant:
    """Sites with simulated machines, their agents, a broker without persistence, and a hub."""

    def __init__(self, folder, *, sites=2, machines=4, every="100ms", seed=1):
        self.folder = Path(folder)
        self._every = every
        self.region = self._invent(sites, machines, seed)
        self.broker = Mosquitto(self.folder)
        self._stack = contextlib.ExitStack()
        self.proxies = {}
        self.agents = {}
        self.machines = sorted(
            (site["id"], machine["id"])
            for site in self.region["sites"]
            for machine in site["machines"]
        )

    def __enter__(self):
        self._stack.callback(self._stop)
        self.broker.start()
        self._start_machines()
        for name in ["hub", *(site["id"] for site in self.region["sites"])]:
            self.proxies[name] = self._stack.enter_context(Proxy(self.broker.port))
        self._write_configs()
        self.start_hub()
        for agent in self.agents.values():
            agent.start()
        return self

    def __exit__(self, *_):
        self._stack.close()

    # -- what a test asks ------------------------------------------------------------------

    def get(self, path, timeout_s=5.0):
        """Ask the hub; None when it does not answer."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as answer:
                return json.load(answer)
        except (OSError, urllib.error.URLError, ValueError):
            return None

    def availability(self):
        """Give the live list by (site, machine); empty when the hub does not answer."""
        answer = self.get("/api/v1/availability") or {"items": []}
        return {(item["site"], item["machine"]): item for item in answer["items"]}

    def all_live(self):
        """Tell whether every machine is online."""
        live = self.availability()
        return all(live.get(key, {}).get("connectivity") == "online" for key in self.machines)

    def order(self, **words):
        """Give the simulation an order through its control port."""
        with socket.create_connection(("127.0.0.1", self.control_port), 5) as link:
            link.sendall(json.dumps(words).encode() + b"\n")
            answer = json.loads(link.makefile().readline())
        assert "error" not in answer, answer
        return answer

    def steps(self):
        """Give the ground truth: how often each machine's step counter has counted."""
        answer = self.order(do="state")
        return {(m["site"], m["machine"]): m["steps"] for m in answer["machines"]}

    def start_hub(self):
        ready = self.folder / "hub.port"
        ready.unlink(missing_ok=True)
        self.hub.start()
        wait_until(ready.exists, f"the hub to listen\n{self.hub.log()[-2000:]}", 20)
        self.port = int(ready.read_text())

    # -- inside ----------------------------------------------------------------------------

    def _invent(self, sites, machines, seed):
        words = [*MACHIKOBA, "sim", "region", "--sites", str(sites), "--machines", str(machines)]
        words += ["--seed", str(seed), "--time-scale", "60"]
        region = yaml.safe_load(subprocess.run(words, check=True, capture_output=True).stdout)
        region |= {"step": "on_read", "step_interval_ms": 100}
        (self.folder / "region.yaml").write_text(yaml.safe_dump(region, allow_unicode=True))
        return region

    def _start_machines(self):
        ready = self.folder / "sim.json"
        words = ["sim", "run", self.folder / "region.yaml", "--ready-file", ready]
        self.simulation = Program("sim", words, self.folder)
        self.simulation.start()
        wait_until(ready.exists, f"the machines to start\n{self.simulation.log()}", 30)
        self.control_port = json.loads(ready.read_text())["control_port"]

    def _write_configs(self):
        """Let the simulation write the settings, then lead each program through its proxy."""
        words = ["sim", "configs", self.folder / "region.yaml"]
        words += ["--ready", self.folder / "sim.json", "--broker", self.broker.url]
        words += ["--out", self.folder / "configs"]
        subprocess.run([*MACHIKOBA, *map(str, words)], check=True, capture_output=True)
        configs = self.folder / "configs"
        self._rewrite(configs / "hub.yaml", "hub")
        words = ["hub", "run", "--config", configs / "hub.yaml"]
        words += ["--ready-file", self.folder / "hub.port"]
        self.hub = Program("hub", words, self.folder)
        for site in (site["id"] for site in self.region["sites"]):
            config = configs / f"agent-{site}.yaml"
            self._rewrite(config, site)
            words = ["agent", "run", "--config", config]
            self.agents[site] = Program(f"agent-{site}", words, self.folder)

    def _rewrite(self, path, name):
        data = yaml.safe_load(path.read_text())
        data["broker"]["url"] = self.proxies[name].url
        for machine in data.get("machines", ()):
            for spec in machine["signals"].values():
                spec["every"] = self._every
        path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False))

    def _stop(self):
        programs = [*self.agents.values(), getattr(self, "hub", None)]
        programs.append(getattr(self, "simulation", None))
        for program in programs:
            if program is not None:
                program.kill()
        self.broker.kill()
