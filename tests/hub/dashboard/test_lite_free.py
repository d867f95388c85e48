"""The page without script says when a machine is free, in both languages, and guesses nothing."""

import pytest

from hub.coordination.capacity.board import Free
from hub.dashboard.lite import groups
from tests.hub.scenes import T0, Scene

HOUR = 3_600_000


@pytest.fixture
def scene():
    scene = Scene()
    scene.add("mc-1")
    scene.read("mc-1", "idle")
    return scene


def row_of(scene, free, language):
    (group,) = groups(
        scene.live.machines(), scene.registry, scene.clock(), language, lambda _machine: free
    )
    return group.rows[0].free, group.rows[0].hours


@pytest.mark.parametrize(
    ("free", "en", "ja"),
    [
        (
            Free(now=True, h24=7.5, d7=50.0),
            ("now", "7.5 h within 24 h"),
            ("今すぐ", "24時間内 7.5 時間"),
        ),
        (
            Free(now=False, next_ms=T0 + HOUR, h24=3.0),
            ("21:06", "3.0 h within 24 h"),
            ("21:06", None),
        ),
        (Free(now=False), ("—", ""), ("—", "")),
        (Free(), ("—", ""), ("—", "")),
    ],
)
def test_when_a_machine_is_free_is_said_in_the_time_of_its_site(scene, free, en, ja):
    assert row_of(scene, free, "en") == en
    found = row_of(scene, free, "ja")
    assert found[0] == ja[0]
    assert ja[1] is None or found[1] == ja[1]
