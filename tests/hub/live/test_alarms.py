"""Each trouble is on the list once, from its beginning to its end, and the list is bounded."""

from hub.live import Alarms


class Clock:
    now_ms = 100

    def __call__(self):
        return self.now_ms


def test_a_trouble_is_raised_once_counted_and_cleared():
    clock = Clock()
    alarms = Alarms(now_ms=clock)
    assert alarms.raise_("agent-offline", "ota/a", "gone")
    clock.now_ms = 200
    assert not alarms.raise_("agent-offline", "ota/a", "still gone")
    [alarm] = alarms.active()
    assert (alarm.since_ms, alarm.last_ms, alarm.count, alarm.text) == (100, 200, 2, "still gone")

    clock.now_ms = 300
    assert alarms.clear("agent-offline", "ota/a")
    assert not alarms.clear("agent-offline", "ota/a")
    assert alarms.active() == []
    assert alarms.all()[0].until_ms == 300


def test_a_trouble_that_comes_back_begins_anew():
    clock = Clock()
    alarms = Alarms(now_ms=clock)
    alarms.raise_("x", "y", "")
    alarms.clear("x", "y")
    clock.now_ms = 900
    assert alarms.raise_("x", "y", "")
    assert (alarms.active()[0].since_ms, alarms.active()[0].count) == (900, 1)


def test_what_is_over_gives_way_before_what_is_on():
    alarms = Alarms(now_ms=Clock(), alarms_max=3)
    for code in "abc":
        alarms.raise_(code, "s", "")
    alarms.clear("b", "s")
    alarms.raise_("d", "s", "")
    assert [alarm.code for alarm in alarms.all()] == ["d", "c", "a"]
    alarms.raise_("e", "s", "")
    assert [alarm.code for alarm in alarms.all()] == ["e", "d", "c"]
    assert alarms.forgotten == 2


def test_every_change_moves_the_version():
    alarms = Alarms(now_ms=Clock())
    versions = [alarms.version]
    for change in (
        lambda: alarms.raise_("a", "s", ""),
        lambda: alarms.raise_("a", "s", ""),
        lambda: alarms.clear("a", "s"),
    ):
        change()
        versions.append(alarms.version)
    assert versions == sorted(set(versions))
