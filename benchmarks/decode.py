"""What it costs to decode data messages into columns, on one core.

The messages are those of 20 agents' machines with good Double signals, 20 and 100 of them in each
message. A third figure has 30 % other signals and 1 % bad quality, as the ingest benchmark does.
"""

import os
import random
import time
from typing import Any, Final

from benchmarks.figures import figure
from gateway.model import Quality, Reason, Sample, Value
from gateway.sparkplug import DataType, data_message, encode_body, value_metric
from hub.ingest.aliases import AliasTables
from hub.ingest.decode import decode_messages
from hub.ingest.rows import Message

RUNS: Final = 7
ROUNDS: Final = 20
MESSAGES: Final = 400
AGENTS: Final = 20
NOON_MS: Final = 1_790_000_000_000
ALIAS_FIRST: Final = 128
PLAIN: Final = (DataType.DOUBLE,)
MIXED: Final = (*[DataType.DOUBLE] * 7, DataType.BOOLEAN, DataType.STRING, DataType.INT64)


def run() -> dict[str, dict[str, Any]]:
    """Measure, and return the figures by name."""
    return {
        "decode_us_per_sample": _measured(20, PLAIN, bad=0.0),
        "decode_us_per_sample_100": _measured(100, PLAIN, bad=0.0),
        "decode_us_per_sample_mixed": _measured(20, MIXED, bad=0.01),
    }


def _measured(width: int, datatypes: tuple[DataType, ...], *, bad: float) -> dict[str, Any]:
    messages, tables = _messages(width, datatypes, bad=bad)
    samples = MESSAGES * width
    decoded = decode_messages(messages, tables)
    if decoded.refused or len(decoded.columns) != samples:
        raise RuntimeError(f"{len(decoded.columns)} of {samples} samples were decoded")
    runs = []
    for _ in range(RUNS):
        before = time.process_time()
        for _ in range(ROUNDS):
            decode_messages(messages, tables)
        runs.append((time.process_time() - before) / ROUNDS / samples * 1e6)
    return figure(
        "µs CPU",
        runs,
        metrics_per_message=width,
        messages_joined=MESSAGES,
        other_than_double_percent=round(
            100 * (1 - datatypes.count(DataType.DOUBLE) / len(datatypes))
        ),
        bad_quality_percent=round(100 * bad),
        cpus=os.cpu_count(),
    )


def _messages(
    width: int, datatypes: tuple[DataType, ...], *, bad: float
) -> tuple[list[Message], AliasTables]:
    numbers = random.Random(1)
    tables = AliasTables()
    agents = [tables.add() for _ in range(AGENTS)]
    for at, agent in enumerate(agents):
        for signal in range(width):
            datatype = datatypes[signal % len(datatypes)]
            agent.learn(ALIAS_FIRST + signal, at * width + signal, datatype)
    messages = []
    for at in range(MESSAGES):
        time_ms = NOON_MS + at * 50
        metrics = [
            value_metric(
                _sample(numbers, datatypes[signal % len(datatypes)], time_ms, bad),
                datatypes[signal % len(datatypes)],
                alias=ALIAS_FIRST + signal,
            )
            for signal in range(width)
        ]
        payload = data_message(
            encode_body(metrics),
            time_ms=time_ms,
            epoch=1,
            offset=at + 1,
            seq=at % 256,
            historical=False,
        )
        messages.append(Message(payload, agents[at % AGENTS], "mc-100", time_ms))
    return messages, tables


def _sample(numbers: random.Random, datatype: DataType, time_ms: int, bad: float) -> Sample:
    values: dict[DataType, Value] = {
        DataType.DOUBLE: numbers.uniform(0, 100),
        DataType.BOOLEAN: numbers.random() < 0.5,
        DataType.STRING: numbers.choice(["running", "idle", "setup", "down"]),
        DataType.INT64: numbers.randrange(1_000_000),
    }
    if numbers.random() < bad:
        return Sample("signal", None, time_ms, Quality.BAD, Reason.TIMEOUT)
    return Sample("signal", values[datatype], time_ms)
