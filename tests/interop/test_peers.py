"""What others encode decodes here, and what we encode decodes there.

The peers are the Python package pysparkplug and npm's sparkplug-payload. Where they disagree with
the specification or with each other, the test says so instead of hiding it.
"""

import math

import pytest

from gateway.sparkplug import (
    DataType,
    Metric,
    Payload,
    data_message,
    decode,
    encode,
    encode_body,
    read_entry,
)

NOON_MS = 1_790_000_000_000

# Values that every peer can hold.
COMMON = [
    (DataType.INT8, 127),
    (DataType.INT16, 32_767),
    (DataType.INT32, 2**31 - 1),
    (DataType.INT32, -(2**31)),
    (DataType.INT32, -1),
    (DataType.INT64, 2**53 - 1),
    (DataType.INT64, -5),
    (DataType.UINT8, 255),
    (DataType.UINT16, 65_535),
    (DataType.UINT32, 2**31 - 1),
    (DataType.UINT64, 2**53 - 1),
    (DataType.FLOAT, 0.5),
    (DataType.DOUBLE, math.pi),
    (DataType.DOUBLE, 0.0),
    (DataType.BOOLEAN, True),
    (DataType.BOOLEAN, False),
    (DataType.STRING, "運転中"),
    (DataType.STRING, ""),
    (DataType.DATETIME, NOON_MS),
    (DataType.TEXT, "long story"),
    (DataType.UUID, "a4f64f5e-0000-4000-8000-1c697a8e0001"),
    (DataType.BYTES, b"\x00\xff\x10"),
]
ARRAYS = [
    (DataType.INT8_ARRAY, [-128, 0, 127]),
    (DataType.INT16_ARRAY, [-32_768, 32_767]),
    (DataType.INT32_ARRAY, [-1, 2**31 - 1]),
    (DataType.INT64_ARRAY, [-(2**63), 2**63 - 1]),
    (DataType.UINT8_ARRAY, [0, 255]),
    (DataType.UINT16_ARRAY, [0, 65_535]),
    (DataType.UINT32_ARRAY, [0, 2**32 - 1]),
    (DataType.UINT64_ARRAY, [0, 2**64 - 1]),
    (DataType.FLOAT_ARRAY, [0.5, -0.25]),
    (DataType.DOUBLE_ARRAY, [math.pi, -math.e]),
    (DataType.BOOLEAN_ARRAY, [False, False, True, True, False, True, False, False, True]),
    (DataType.STRING_ARRAY, ["mill", "旋盤", ""]),
    (DataType.DATETIME_ARRAY, [NOON_MS, NOON_MS + 1]),
]
# Beyond what JavaScript's numbers hold.
LARGE = [
    (DataType.INT64, -(2**63)),
    (DataType.INT64, 2**63 - 1),
    (DataType.UINT64, 2**64 - 1),
    (DataType.UINT32, 2**32 - 1),
]


def metrics_of(values):
    return [
        Metric(
            name=f"signal {at}",
            alias=128 + at,
            datatype=datatype,
            value=value,
            time_ms=NOON_MS + at,
            historical=at % 5 == 0,
        )
        for at, (datatype, value) in enumerate(values)
    ]


def spoken(metrics):
    """Write metrics the way the peers' programs do."""
    return [
        {
            "name": metric.name,
            "type": metric.datatype.name,
            "value": metric.value.hex() if isinstance(metric.value, bytes) else metric.value,
            "time": metric.time_ms,
            "historical": metric.historical,
        }
        for metric in metrics
    ]


def our_frame(metrics):
    return encode(Payload(NOON_MS, 7, metrics)).hex()


def ask_to_encode(metrics):
    spelled = [
        {**one, "alias": metric.alias} for one, metric in zip(spoken(metrics), metrics, strict=True)
    ]
    return {"encode": spelled, "seq": 7, "time": NOON_MS}


def test_pysparkplug_reads_what_we_write(pysparkplug):
    metrics = metrics_of([*COMMON, *LARGE, *ARRAYS])

    (heard,) = pysparkplug([{"decode": our_frame(metrics), "birth": None}])

    assert heard == {"time": NOON_MS, "seq": 7, "metrics": spoken(metrics)}


def test_npm_reads_what_we_write(npm_payload):
    metrics = metrics_of(COMMON)

    (heard,) = npm_payload([{"decode": our_frame(metrics), "birth": None}])

    assert heard == {"time": NOON_MS, "seq": 7, "metrics": spoken(metrics)}


@pytest.mark.parametrize("peer", ["pysparkplug", "npm_payload"])
def test_we_read_what_peers_write(peer, request):
    values = [*COMMON, *LARGE, *ARRAYS] if peer == "pysparkplug" else COMMON
    metrics = metrics_of(values)

    (frame,) = request.getfixturevalue(peer)([ask_to_encode(metrics)])

    assert decode(bytes.fromhex(frame)) == Payload(NOON_MS, 7, metrics)


@pytest.mark.parametrize("peer", ["pysparkplug", "npm_payload"])
def test_peers_read_a_missing_value_as_none(peer, request):
    metrics = metrics_of([(DataType.DOUBLE, None)])
    metrics[0].properties = {"Quality": 0, "Machikoba/Quality": 1}

    (heard,) = request.getfixturevalue(peer)([{"decode": our_frame(metrics), "birth": None}])

    assert heard["metrics"] == spoken(metrics)


@pytest.mark.parametrize("historical", [False, True])
def test_pysparkplug_reads_an_entry_with_the_birth_beside_it(pysparkplug, historical):
    values = [(DataType.DOUBLE, 21.5), (DataType.BOOLEAN, True), (DataType.STRING, "idle")]
    metrics = metrics_of(values)
    place = Metric("Machikoba/Entry", None, DataType.UINT64_ARRAY, None, NOON_MS)
    birth = our_frame([*metrics, place])
    message = our_entry(metrics, historical=historical, datatypes=False)

    (heard,) = pysparkplug([{"decode": message.hex(), "birth": birth}])

    assert read_entry(message) == (2**64 - 1, 9)
    assert [one["value"] for one in heard["metrics"]] == [21.5, True, "idle", [2**64 - 1, 9]]
    assert [one["historical"] for one in heard["metrics"]] == [historical] * 3 + [False]
    assert heard["metrics"][3]["name"] == "Machikoba/Entry"


def test_npm_reads_an_entry_that_tells_its_datatypes(npm_payload):
    values = [(DataType.DOUBLE, 21.5), (DataType.BOOLEAN, True), (DataType.STRING, "idle")]
    message = our_entry(metrics_of(values), historical=False, datatypes=True)

    (heard,) = npm_payload([{"decode": message.hex(), "birth": None}])

    # It knows no array types, so it passes the entry's place over.
    assert [one["value"] for one in heard["metrics"]] == [21.5, True, "idle", None]
    assert heard["seq"] == 200


def our_entry(metrics, *, historical, datatypes):
    plain = [
        Metric(alias=one.alias, datatype=one.datatype, value=one.value, time_ms=NOON_MS)
        for one in metrics
    ]
    return data_message(
        encode_body(plain, datatypes=datatypes),
        time_ms=NOON_MS,
        epoch=2**64 - 1,
        offset=9,
        seq=200,
        historical=historical,
        datatypes=datatypes,
    )


@pytest.mark.parametrize(("datatype", "value"), [(DataType.INT8, -5), (DataType.INT16, -300)])
def test_peers_disagree_on_small_negative_numbers_and_we_read_both(
    pysparkplug, npm_payload, datatype, value
):
    """One cuts them to their own width, the other extends them to 32 bits, as we do."""
    metrics = metrics_of([(datatype, value)])

    (cut,) = pysparkplug([ask_to_encode(metrics)])
    (extended,) = npm_payload([ask_to_encode(metrics)])

    assert cut != extended
    assert decode(bytes.fromhex(cut)).metrics[0].value == value
    assert decode(bytes.fromhex(extended)).metrics[0].value == value
    (heard,) = npm_payload([{"decode": our_frame(metrics), "birth": None}])
    assert heard["metrics"] == spoken(metrics)
