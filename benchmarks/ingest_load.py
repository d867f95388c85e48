"""Agents that publish as fast as they are acknowledged: `python -m benchmarks.ingest_load …`.

Bodies are encoded beforehand and MQTT is spoken over bare sockets, so that the load costs little
beside what it loads. Each agent keeps a window of entries on their way; nothing is sent twice.
"""

import json
import random
import resource
import selectors
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.delivery import read_ack
from gateway.model import Quality, Reason, Value
from gateway.sparkplug import (
    DataType,
    Metric,
    Payload,
    data_message,
    decode,
    encode,
    encode_body,
    names,
    quality_properties,
)

SITE: Final = "bench"
METRICS: Final = 20
VARIANTS: Final = 8
KINDS: Final = (
    *[DataType.DOUBLE] * 14,
    *[DataType.BOOLEAN] * 3,
    *[DataType.INT64] * 2,
    DataType.STRING,
)
"""30 % of the signals are not Double."""
BAD_SHARE: Final = 0.01
WINDOW: Final = 2_000
CHUNK: Final = 200
MARK: Final = 0x0123456789ABCDEF
REPORT_S: Final = 0.5
SILENCE_S: Final = 20.0


@dataclass(slots=True)
class LoadAgent:
    """One agent with its connection and its machines' messages, cut where the offset goes."""

    name: str
    epoch: int
    messages: list[tuple[bytes, bytes]]
    link: socket.socket
    next: int = 1
    settled: int = 0
    waiting: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)

    def fill(self) -> None:
        """Make the next messages, as many as the window allows."""
        room = min(CHUNK, WINDOW - (self.next - 1 - self.settled))
        if room <= 0 or self.waiting:
            return
        for offset in range(self.next, self.next + room):
            head, tail = self.messages[offset % len(self.messages)]
            self.waiting += head + offset.to_bytes(8, "little") + tail
        self.next += room

    def flush(self) -> None:
        """Write what the socket takes."""
        try:
            sent = self.link.send(self.waiting)
        except BlockingIOError:
            return
        del self.waiting[:sent]

    def read(self) -> None:
        """Take note of acknowledgements."""
        self.received += self.link.recv(1 << 16)
        for packet in _packets(self.received):
            length = struct.unpack_from(">H", packet)[0]
            ack = read_ack(decode(bytes(packet[2 + length :])))
            if ack is not None and ack.epoch == self.epoch:
                self.settled = max(self.settled, ack.offset)


def main() -> None:
    """Load a broker until the time is over; print one line of JSON each half second."""
    port, agents, machines, seconds = (int(word) for word in sys.argv[1:5])
    rng = random.Random(1)
    fleet = [_agent(port, f"agent-{i}", machines // agents, rng) for i in range(agents)]
    with selectors.DefaultSelector() as selector:
        for agent in fleet:
            selector.register(agent.link, selectors.EVENT_READ | selectors.EVENT_WRITE, agent)
        _run(selector, fleet, time.monotonic() + seconds)


def _run(selector: selectors.BaseSelector, fleet: list[LoadAgent], end: float) -> None:
    report_at = heard_at = time.monotonic()
    settled = 0
    while (now := time.monotonic()) < end:
        busy = False
        for key, mask in selector.select(0.1):
            agent: LoadAgent = key.data
            if mask & selectors.EVENT_READ:
                agent.read()
            agent.fill()
            if agent.waiting and mask & selectors.EVENT_WRITE:
                agent.flush()
                busy = True
        if not busy:
            time.sleep(0.002)  # every window is full: wait for acknowledgements
        if now >= report_at:
            report_at = now + REPORT_S
            before, settled = settled, sum(agent.settled for agent in fleet)
            heard_at = now if settled != before else heard_at
            if now - heard_at > SILENCE_S:
                raise SystemExit("no acknowledgement for too long: a message was lost")
            usage = resource.getrusage(resource.RUSAGE_SELF)
            told = {"settled": settled, "cpu_s": usage.ru_utime + usage.ru_stime}
            print(json.dumps(told), flush=True)


def _agent(port: int, name: str, machines: int, rng: random.Random) -> LoadAgent:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    epoch = rng.getrandbits(63) | 1
    connect = _text("MQTT") + b"\x04\x02\x00\x00" + _text(name)
    link.sendall(_packet(0x10, connect))
    link.recv(4)
    link.sendall(_packet(0x82, b"\x00\x01" + _text(f"spBv1.0/{SITE}/NCMD/{name}") + b"\x00"))
    link.recv(5)
    for topic, payload in _births(name, epoch, machines):
        link.sendall(_packet(0x30, _text(topic) + payload))
    link.settimeout(0)
    return LoadAgent(name, epoch, _messages(name, epoch, machines, rng), link)


def _births(name: str, epoch: int, machines: int) -> list[tuple[str, bytes]]:
    now_ms = time.time_ns() // 1_000_000
    told = [
        ("bdSeq", DataType.INT64, 0),
        (names.PROTOCOL, DataType.UINT32, 1),
        (names.EPOCH, DataType.UINT64, epoch),
        (names.FIRST, DataType.UINT64, 1),
        (names.NEXT, DataType.UINT64, 1),
    ]
    node = [Metric(name=key, datatype=kind, value=value) for key, kind, value in told]
    births = [(f"spBv1.0/{SITE}/NBIRTH/{name}", encode(Payload(now_ms, 0, node)))]
    for machine in range(machines):
        metrics = [
            Metric(name=f"signal {at}", alias=_alias(machine, at), datatype=kind)
            for at, kind in enumerate(KINDS)
        ]
        topic = f"spBv1.0/{SITE}/DBIRTH/{name}/{name}-m{machine}"
        births.append((topic, encode(Payload(now_ms, 1, metrics))))
    return births


def _messages(
    name: str, epoch: int, machines: int, rng: random.Random
) -> list[tuple[bytes, bytes]]:
    """Make PUBLISH packets of every machine in turn, cut around the eight bytes of the offset."""
    now_ms = time.time_ns() // 1_000_000
    made = []
    for variant in range(VARIANTS):
        for machine in range(machines):
            at_ms = now_ms + variant * 1000
            metrics = [_metric(machine, at, kind, at_ms, rng) for at, kind in enumerate(KINDS)]
            payload = data_message(
                encode_body(metrics),
                time_ms=at_ms,
                epoch=epoch,
                offset=MARK,
                seq=variant,
                historical=False,
            )
            topic = f"spBv1.0/{SITE}/DDATA/{name}/{name}-m{machine}"
            packet = _packet(0x30, _text(topic) + payload)
            head, _, tail = packet.partition(MARK.to_bytes(8, "little"))
            made.append((head, tail))
    return made


def _metric(machine: int, at: int, kind: DataType, time_ms: int, rng: random.Random) -> Metric:
    values: Mapping[DataType, Value] = {
        DataType.DOUBLE: rng.uniform(0, 100),
        DataType.BOOLEAN: rng.random() < 0.5,
        DataType.INT64: rng.randrange(1_000_000),
        DataType.STRING: f"job {rng.randrange(100)}",
    }
    bad = rng.random() < BAD_SHARE
    properties = quality_properties(Quality.BAD, Reason.TIMEOUT) if bad else {}
    return Metric(
        alias=_alias(machine, at),
        datatype=kind,
        value=None if bad else values[kind],
        time_ms=time_ms,
        properties=properties,
    )


def _alias(machine: int, at: int) -> int:
    return 128 + machine * METRICS + at


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    """Write an MQTT 3.1.1 control packet (section 2.2)."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((kind,)) + digits + body


def _packets(data: bytearray) -> list[bytes]:
    """Take the complete PUBLISH packets of QoS 0 out of what was received."""
    found = []
    while len(data) > 1:
        length = shift = 0
        at = 1
        while at < len(data):
            length |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                break
        else:
            break
        if len(data) < at + length:
            break
        if data[0] >> 4 == 3:
            found.append(bytes(data[at : at + length]))
        del data[: at + length]
    return found


if __name__ == "__main__":
    main()
