"""The stream tells each change once, resumes where a viewer left, and never lets one block."""

import json
import zlib

import pytest

from hub.stream import GZIP_HEADER, LiveStream, Scope, ScopeError, TooManyScopesError, fanout
from hub.stream.fanout import HEARTBEAT_MS, QUEUE_FRAMES
from hub.stream.rows import COLUMNS
from tests.hub.scenes import Scene


@pytest.fixture
def scene():
    scene = Scene()
    for machine in ("mc-1", "mc-2"):
        scene.add(machine)
        scene.read(machine)
    return scene


@pytest.fixture
def stream(scene):
    return LiveStream(scene.live, now_ms=scene.clock, build="b1", boot="boot")


def read(frame):
    """Give (event, data, id) of each event of a frame."""
    events = []
    for text in frame.plain.decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.split("\n"))
        events.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return events


async def drain(viewer):
    frames = [await viewer.next() for _ in range(viewer._frames.qsize())]
    return [event for frame in frames for event in read(frame)]


def cell(row, column):
    return row[COLUMNS.index(column)]


async def test_a_viewer_is_greeted_and_shown_everything(stream):
    async with stream.follow(Scope(), None) as viewer:
        hello, snapshot = await drain(viewer)

    assert hello[0] == "hello"
    assert hello[1]["boot"] == "boot"
    assert [(cell(r, "i"), cell(r, "machine")) for r in snapshot[1]["m"]] == [
        (0, "mc-1"),
        (1, "mc-2"),
    ]
    assert cell(snapshot[1]["m"][0], "state") == "idle"


async def test_only_what_changed_is_told_and_told_whole(scene, stream):
    async with stream.follow(Scope(), None) as viewer:
        await drain(viewer)
        scene.clock.now_ms += 250
        scene.read("mc-2", "running")
        stream.tick()
        ((event, data, _),) = await drain(viewer)

    assert event == "delta"
    assert [(cell(r, "machine"), cell(r, "state")) for r in data["d"]] == [("mc-2", "running")]


async def test_a_reading_that_changes_nothing_is_no_news_but_a_heartbeat_comes(scene, stream):
    async with stream.follow(Scope(), None) as viewer:
        await drain(viewer)
        scene.clock.now_ms += 250
        scene.read("mc-2")
        stream.tick()
        quiet = await drain(viewer)
        scene.clock.now_ms += HEARTBEAT_MS
        stream.tick()
        ((event, data, _),) = await drain(viewer)

    assert quiet == []
    assert (event, data["d"]) == ("delta", [])


async def test_validity_is_renewed_before_it_runs_out(scene, stream):
    async with stream.follow(Scope(), None) as viewer:
        (_, first) = await drain(viewer)
        sent_until = cell(first[1]["m"][0], "valid_until")
        while scene.clock.now_ms < sent_until + 60_000:
            scene.clock.now_ms += 1000
            scene.read("mc-1")
            stream.tick()
            for _, data, _ in await drain(viewer):
                rows = [r for r in data.get("d", []) if cell(r, "machine") == "mc-1"]
                sent_until = cell(rows[-1], "valid_until") if rows else sent_until
            assert sent_until > scene.clock.now_ms
            if scene.clock.now_ms > first[1]["t"] + 90_000:
                break


async def test_a_machine_that_falls_silent_becomes_unknown_by_the_clock_alone(scene, stream):
    async with stream.follow(Scope(site="ota"), None) as viewer:
        await drain(viewer)
        scene.clock.now_ms += 30_001
        stream.tick()
        ((_, data, _),) = await drain(viewer)

    assert {(cell(r, "state"), cell(r, "connectivity")) for r in data["d"]} == {
        ("unknown", "stale")
    }


async def test_a_machine_without_data_is_told_with_the_last_state_that_was_known(scene, stream):
    """Whether its reading expired or its agent itself says that it knows no more."""
    scene.read("mc-1", "running")
    stream.tick()
    async with stream.follow(Scope(site="ota"), None) as viewer:
        await drain(viewer)
        scene.read("mc-1", "unknown", reason="inputs-unknown")
        stream.tick()
        ((_, said, _),) = await drain(viewer)
        scene.clock.now_ms += 30_001
        stream.tick()
        ((_, expired, _),) = await drain(viewer)

    told = [(cell(r, "machine"), cell(r, "state"), cell(r, "last_state")) for r in said["d"]]
    assert told == [("mc-1", "unknown", "running")]
    assert {(cell(r, "state"), cell(r, "last_state")) for r in expired["d"]} == {
        ("unknown", "running"),
        ("unknown", "idle"),
    }


async def test_a_machine_that_goes_down_raises_an_alarm(scene, stream):
    async with stream.follow(Scope(), None) as viewer:
        await drain(viewer)
        scene.read("mc-1", "down", reason="machine-alarm")
        stream.tick()
        events = await drain(viewer)

    assert [event for event, _, _ in events] == ["delta", "alarm"]
    assert events[1][1]["machine"] == "mc-1"
    assert events[1][1]["reason"] == "machine-alarm"


async def test_who_comes_back_gets_the_newest_row_of_what_changed_meanwhile(scene, stream):
    async with stream.follow(Scope(), None), stream.follow(Scope(), None) as viewer:
        last_id = (await drain(viewer))[-1][2]
        for state in ("running", "setup", "idle"):
            scene.clock.now_ms += 250
            scene.read("mc-1", state)
            stream.tick()
        async with stream.follow(Scope(), last_id) as back:
            hello, merged = await drain(back)

    assert hello[0] == "hello"
    assert merged[0] == "delta"
    assert [(cell(r, "machine"), cell(r, "state")) for r in merged[1]["d"]] == [("mc-1", "idle")]


@pytest.mark.parametrize("last_id", ["other-5", "boot-99999", "boot-x", "-", "boot-1", ""])
async def test_an_id_that_does_not_fit_gets_a_snapshot(scene, stream, last_id):
    async with stream.follow(Scope(site="ota"), None):
        scene.clock.now_ms += 250
        scene.read("mc-1", "running")
        stream.tick()
    async with stream.follow(Scope(), last_id) as viewer:
        _, (event, _, _) = await drain(viewer)

    assert event == "snapshot"


async def test_a_new_machine_starts_everybody_from_a_snapshot(scene, stream):
    async with stream.follow(Scope(), None) as viewer:
        await drain(viewer)
        scene.add("mc-3")
        scene.clock.now_ms += 250
        stream.tick()
        ((event, data, _),) = await drain(viewer)

    assert event == "snapshot"
    assert len(data["m"]) == 3


async def test_a_slow_viewer_loses_ticks_not_truth(scene, stream):
    async with stream.follow(Scope(), None) as viewer:
        for step in range(QUEUE_FRAMES + 3):
            scene.clock.now_ms += 250
            scene.read("mc-1", "running" if step % 2 else "setup")
            stream.tick()
        frames = await drain(viewer)

    assert len(frames) <= QUEUE_FRAMES
    assert frames[0][0] == "snapshot"
    last = frames[-1][1]
    row = next(r for r in last.get("m", last.get("d")) if cell(r, "machine") == "mc-1")
    assert cell(row, "state") == "setup"


async def test_a_viewer_of_one_machine_sees_its_signals_and_nobody_elses(scene, stream):
    scene.read("mc-1", rpm=1200.0)
    async with stream.follow(Scope("ota", "mc-1"), None) as viewer:
        _, (_, first, _) = await drain(viewer)
        scene.clock.now_ms += 250
        scene.read("mc-2", rpm=7.0)
        stream.tick()
        quiet = await drain(viewer)
        scene.say("mc-1", rpm=1300.0)
        stream.tick()
        ((_, data, _),) = await drain(viewer)

    assert [row[:3] for row in first["s"]] == [["rpm", None, 1200.0]]
    assert quiet == []
    assert [(row[0], row[2], row[4]) for row in data["s"]] == [("rpm", 1300.0, "good")]


async def test_deflated_frames_of_any_viewers_join_to_one_gzip_stream(scene, stream):
    async with stream.follow(Scope(), None) as early:
        frames = [await early.next(), await early.next()]
        for _ in range(3):
            scene.clock.now_ms += HEARTBEAT_MS
            stream.tick()
            frames.append(await early.next())
    press = zlib.decompressobj(zlib.MAX_WBITS | 16)
    chosen = [frames[0], frames[1], frames[3], frames[4]]

    text = press.decompress(GZIP_HEADER + b"".join(frame.deflated for frame in chosen))

    assert text == b"".join(frame.plain for frame in chosen)


@pytest.mark.parametrize("text", ["", "site:", "machine:ota", "machine:/x", "world", "machine:a/"])
def test_what_is_no_scope_is_refused(text):
    with pytest.raises(ScopeError, match="is no scope"):
        Scope.parse(text)


async def test_the_id_of_another_scope_brings_a_snapshot(scene, stream):
    async with stream.follow(Scope("ota"), None) as site, stream.follow(Scope(), None) as region:
        for state in ("running", "idle", "running"):
            scene.clock.now_ms += 250
            scene.read("mc-1", state)
            stream.tick()
        seen = (await drain(site))[-2][2]
        seen_there = (await drain(region))[-2][2]

        async with stream.follow(Scope(), seen) as viewer:
            assert [event for event, _, _ in await drain(viewer)] == ["hello", "snapshot"]
        async with stream.follow(Scope(), seen_there) as viewer:
            assert [event for event, _, _ in await drain(viewer)] == ["hello", "delta"]


async def test_refused_viewers_leave_no_scope_behind(stream, monkeypatch):
    monkeypatch.setattr(fanout, "VIEWERS_MAX", 1)
    async with stream.follow(Scope(), None):
        with pytest.raises(TooManyScopesError):
            async with stream.follow(Scope("ota"), None):
                pass

    assert [scope for scope, _ in stream._channels] == [Scope()]


async def test_the_region_can_be_followed_however_many_scopes_others_hold(stream, monkeypatch):
    monkeypatch.setattr(fanout, "SCOPES_MAX", 1)
    async with stream.follow(Scope("ota"), None):
        with pytest.raises(TooManyScopesError):
            async with stream.follow(Scope("ota", "mc-1"), None):
                pass
        async with stream.follow(Scope(), None) as viewer:
            assert len(await drain(viewer)) == 2


async def test_all_that_a_tick_tells_comes_in_one_piece(scene, stream):
    async with stream.follow(Scope(), None) as viewer:
        await drain(viewer)
        for machine in ("mc-1", "mc-2"):
            scene.read(machine, "down")
        stream.tick()
        frame = await viewer.next()

    assert [event for event, _, _ in read(frame)] == ["delta", "alarm", "alarm"]
    assert viewer._frames.empty()
