"""Stands in for a part of the demo: `fake_part.py BEHAVIOUR WORDS…`, WORDS as `machikoba` gets.

Behaviours: good · dies (after being ready, with a last word) · stubborn (ignores SIGTERM) ·
parent (has a child of its own) · stale (a hub that sees one machine stale) · mute (never ready).
"""

import json
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import yaml


def after(words, option):
    return words[words.index(option) + 1]


def be_machines(words):
    region = yaml.safe_load(Path(words[2]).read_text(encoding="utf-8"))
    machines = [
        {
            "site": site["id"],
            "machine": machine["id"],
            "host": "127.0.0.1",
            "port": 5020,
            "device_id": 1,
            "url": "opc.tcp://127.0.0.1:4840",
        }
        for site in region["sites"]
        for machine in site["machines"]
    ]
    ready = {"ready": True, "control_port": 1, "machines": machines}
    Path(after(words, "--ready-file")).write_text(f"{json.dumps(ready)}\n", encoding="utf-8")


def be_hub(words, behaviour):
    path = Path(after(words, "--config"))
    host, _, port = yaml.safe_load(path.read_text(encoding="utf-8"))["listen"].partition(":")
    region = yaml.safe_load((path.parent / "region.yaml").read_text(encoding="utf-8"))
    items = [
        {
            "site": site["id"],
            "machine": machine["id"],
            "name": machine["name"],
            "kind": machine["kind"],
            "state": "idle",
            "connectivity": "online",
        }
        for site in region["sites"]
        for machine in site["machines"]
    ]
    if behaviour == "stale":
        items[0]["connectivity"] = "stale"

    class Pages(BaseHTTPRequestHandler):
        """Two items a page."""

        def do_GET(self):
            first = int(self.path.partition("cursor=")[2] or 0)
            more = str(first + 2) if first + 2 < len(items) else None
            body = json.dumps({"items": items[first : first + 2], "next": more}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    HTTPServer((host, int(port)), Pages).serve_forever()


def main(behaviour, *words):
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "parent":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        sys.stdout.write(f"child {child.pid}\n")
    sys.stdout.write(f"this is {' '.join(words[:2])}\n")
    sys.stdout.flush()
    if behaviour == "mute":
        time.sleep(600)
    if words[:2] == ("sim", "run"):
        be_machines(words)
    if words[:2] == ("hub", "broker"):
        Path(after(words, "--ready-file")).write_text("1883\n", encoding="utf-8")
    if behaviour == "dies":
        sys.exit("my last word")
    if words[:2] == ("hub", "run"):
        be_hub(words, behaviour)
    time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
