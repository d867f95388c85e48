"""Asks the Python package pysparkplug to encode and decode; run as a program of its own.

Reads a JSON list of questions and writes a JSON list of answers. A question is
{"decode": hex, "birth": hex or null} or {"encode": [metric, …], "seq": n, "time": ms}.
"""

import datetime as dt
import json
import sys

from pysparkplug import DataType, DBirth, DData, Metric

TIMES = {"DATETIME", "DATETIME_ARRAY"}


def to_peer(kind, value):
    if kind in TIMES:
        moment = dt.datetime.fromtimestamp
        if isinstance(value, list):
            return tuple(moment(one / 1000, dt.UTC) for one in value)
        return moment(value / 1000, dt.UTC)
    if kind in {"BYTES", "FILE"}:
        return bytes.fromhex(value)
    return tuple(value) if isinstance(value, list) else value


def from_peer(value):
    if isinstance(value, dt.datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [from_peer(one) for one in value]
    return value


def decode(question):
    birth = question["birth"] and DBirth.decode(bytes.fromhex(question["birth"]))
    payload = DData.decode(bytes.fromhex(question["decode"]), birth=birth)
    return {
        "time": payload.timestamp,
        "seq": payload.seq,
        "metrics": [
            {
                "name": metric.name,
                "type": metric.datatype.name,
                "value": from_peer(metric.value),
                "time": metric.timestamp,
                "historical": metric.is_historical,
            }
            for metric in payload.metrics
        ],
    }


def encode(question):
    metrics = [
        Metric(
            timestamp=metric["time"],
            name=metric["name"],
            datatype=DataType[metric["type"]],
            value=to_peer(metric["type"], metric["value"]),
            alias=metric.get("alias"),
            is_historical=metric["historical"],
        )
        for metric in question["encode"]
    ]
    payload = DData(timestamp=question["time"], seq=question["seq"], metrics=tuple(metrics))
    return payload.encode(include_dtypes=True).hex()


questions = json.load(sys.stdin)
json.dump([decode(one) if "decode" in one else encode(one) for one in questions], sys.stdout)
