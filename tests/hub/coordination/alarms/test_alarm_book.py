"""Alarms outlive the hub; each beginning, end and acknowledgement is told once, and who took note.

The rules that raise the hub's own alarms neither flap nor forget.
"""

import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import State
from hub.access import Caller, Role
from hub.coordination.alarms.alarm_book import (
    AlarmBook,
    NotYourAlarmError,
    UnknownAlarmError,
    free_percent,
)
from hub.coordination.alarms.alarm_rules import DownSince, MachineSeen, Seen, wanted
from hub.coordination.alarms.certificates import CertificateError, ends_ms
from hub.live import Alarms
from hub.notice_settings import AlarmRules
from hub.store import StoreUnavailableError, audit, events
from tests.hub.scenes import Scene

ADMIN = Caller("root", "key", roles=frozenset({Role.HUB_ADMIN}))
WORKER = Caller("kei", "session", roles=frozenset({Role.OPERATOR}), sites=frozenset({"ota"}))
GUEST = Caller("guest", "session", roles=frozenset({Role.REGION_VIEWER}), sites=frozenset({"ota"}))
STRANGER = Caller("x", "session", roles=frozenset({Role.OPERATOR}), sites=frozenset({"suwa"}))


class Watch:
    """An alarm book around a scene."""

    def __init__(self, store, **settings):
        self.store = store
        self.scene = Scene()
        self.scene.add("mc-1")
        self.scene.read("mc-1", "running")
        self.clock = self.scene.clock
        self.settings = settings
        self.disk = 50.0
        self.restart()

    def restart(self):
        """Begin anew with nothing but the store."""
        self.alarms = Alarms(now_ms=self.clock)
        self.book = AlarmBook(
            self.store,
            self.alarms,
            live=self.scene.live,
            rules=AlarmRules(**self.settings),
            now_ms=self.clock,
            disk_free_percent=lambda: self.disk,
        )
        self.book.restore()

    def turn(self, after_s=0, state=None):
        self.clock.now_ms += round(after_s * 1000)
        if state:
            self.scene.read("mc-1", state)
        self.book.watch()
        self.book.write()

    def told(self):
        with self.store.read() as tx:
            return [(e.type, e.data["code"]) for e in events.after(tx, 0, limit=1000)]

    def on(self):
        return [alarm.code for alarm in self.alarms.active()]


@pytest.fixture
def watch(store):
    return Watch(store)


def test_an_alarm_is_told_when_it_begins_and_when_it_ends(watch):
    watch.alarms.raise_("duplicate-machine", "ota/mc-1", "two of them")
    watch.alarms.raise_("duplicate-machine", "ota/mc-1", "still")
    watch.turn()
    watch.alarms.clear("duplicate-machine", "ota/mc-1")
    watch.turn()

    assert watch.told() == [
        ("alarm.raised", "duplicate-machine"),
        ("alarm.cleared", "duplicate-machine"),
    ]
    with watch.store.read() as tx:
        [raised, _] = events.after(tx, 0, limit=9)
    assert (raised.site, raised.machine, raised.subject) == ("ota", "mc-1", "ota/mc-1")


def test_what_was_on_is_on_after_a_restart_and_is_not_told_again(watch):
    watch.alarms.raise_("duplicate-machine", "ota/mc-1", "")
    watch.turn()
    [before] = watch.alarms.active()
    watch.book.acknowledge(WORKER, before.id, "on my way")
    watch.restart()
    watch.turn()
    [after] = watch.alarms.active()

    assert (after.id, after.acknowledged_by, after.note) == (before.id, "kei", "on my way")
    assert watch.told() == [
        ("alarm.raised", "duplicate-machine"),
        ("alarm.acknowledged", "duplicate-machine"),
    ]
    watch.alarms.clear("duplicate-machine", "ota/mc-1")
    watch.turn()
    assert watch.told()[-1] == ("alarm.cleared", "duplicate-machine")


def test_who_took_note_is_in_the_audit(watch):
    watch.alarms.raise_("machine-down", "ota/mc-1", "")
    [alarm] = watch.alarms.active()
    noted = watch.book.acknowledge(WORKER, alarm.id, None)

    assert (noted.acknowledged_by, noted.until_ms) == ("kei", None)
    with watch.store.read() as tx:
        [entry] = audit.before(tx, None, limit=9)
    assert (entry.who, entry.action, entry.site) == ("kei", "alarm.acknowledged", "ota")


def test_taking_note_of_what_is_over_by_itself_ends_it(watch):
    watch.alarms.raise_("samples-dropped", "ota/line-1", "")
    [alarm] = watch.alarms.active()
    watch.book.acknowledge(WORKER, alarm.id, None)

    assert watch.on() == []
    assert [what for what, _ in watch.told()] == [
        "alarm.raised",
        "alarm.acknowledged",
        "alarm.cleared",
    ]


def test_nobody_takes_note_for_somebody_else(watch):
    watch.alarms.raise_("machine-down", "ota/mc-1", "")
    watch.alarms.raise_("disk-filling", "disk", "")
    of_disk, of_machine = (alarm.id for alarm in watch.alarms.active())

    for caller, id_, refusal in (
        (STRANGER, of_machine, UnknownAlarmError),
        (WORKER, of_disk, UnknownAlarmError),
        (WORKER, "0" * 16, UnknownAlarmError),
        (GUEST, of_machine, NotYourAlarmError),
    ):
        with pytest.raises(refusal):
            watch.book.acknowledge(caller, id_, None)
    assert watch.book.acknowledge(ADMIN, of_disk, None).acknowledged_by == "root"


def test_an_agent_that_is_away_for_a_moment_is_nobody_s_news(watch):
    watch.alarms.raise_("agent-offline", "ota/line-1", "")
    watch.turn(59)
    watch.alarms.clear("agent-offline", "ota/line-1")
    watch.turn(120)
    assert watch.told() == []
    watch.alarms.raise_("agent-offline", "ota/line-1", "")
    watch.turn(30)
    watch.restart()
    watch.turn(29)
    assert watch.told() == []
    watch.turn(1)
    watch.turn(1)

    assert watch.told() == [("alarm.raised", "agent-offline")]


def test_what_cannot_be_written_now_is_written_later_and_once(watch, monkeypatch):
    watch.alarms.raise_("machine-down", "ota/mc-1", "")
    with monkeypatch.context() as patch:

        def away():
            raise StoreUnavailableError("away")

        patch.setattr(watch.store, "write", away)
        with pytest.raises(StoreUnavailableError):
            watch.book.write()
    watch.alarms.clear("machine-down", "ota/mc-1")
    watch.book.write()
    watch.book.write()

    assert watch.told() == [("alarm.raised", "machine-down"), ("alarm.cleared", "machine-down")]


def test_odd_names_are_written_down_too(watch):
    odd = "half \ud83d\0/" + "x" * 900
    watch.alarms.raise_("protocol", odd, odd * 2)
    watch.turn()
    watch.restart()
    watch.turn()

    assert watch.told() == [("alarm.raised", "protocol")]


def test_a_short_stop_is_no_alarm_and_a_long_one_is_one(watch):
    watch.turn(0, "down")
    watch.turn(119, "down")
    assert watch.on() == []
    watch.turn(0.5, "running")
    watch.turn(0, "down")
    watch.turn(119, "down")
    assert watch.on() == []
    watch.turn(1, "down")
    assert watch.on() == ["machine-down"]
    watch.turn(60, "running")

    assert watch.on() == []


def test_a_machine_that_was_down_and_went_silent_is_still_down_for_all_we_know(watch):
    watch.turn(0, "down")
    watch.turn(121, "down")
    watch.turn(3600)
    assert watch.on() == ["machine-down"]
    watch.restart()
    watch.turn(1)
    assert watch.on() == ["machine-down"]
    watch.turn(1, "idle")

    assert watch.on() == []
    assert watch.told() == [("alarm.raised", "machine-down"), ("alarm.cleared", "machine-down")]


def test_a_disk_is_relieved_only_when_there_is_room_again(watch):
    for free, on in ((10.5, []), (9.9, ["disk-filling"]), (11.9, ["disk-filling"]), (12.1, [])):
        watch.disk = free
        watch.turn(60)
        assert watch.on() == on


@given(st.lists(st.tuples(st.floats(0.1, 300), st.sampled_from(["down", "idle", "unknown"]))))
def test_no_machine_is_alarmed_of_before_its_time_nor_longer_than_it_is_down(course):
    rules, down_since, on, now_ms = AlarmRules(), DownSince(), set(), 0
    began_ms = None
    for after_s, word in course:
        now_ms += round(after_s * 1000)
        seen = Seen(machines=[MachineSeen("ota", "mc-1", State(word))])
        on = set(wanted(seen, down_since.note(seen.machines, now_ms), on, rules, now_ms))
        if word == "down" and began_ms is None:
            began_ms = now_ms
        elif word == "idle":
            began_ms = None
        long = began_ms is not None and now_ms - began_ms >= 120_000
        assert bool(on) == long


def certificate(folder, days, *more):
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    words += ["-subj", "/CN=x", "-days", days, *more]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    told = ["openssl", "x509", "-enddate", "-noout", "-in", folder / "cert.pem"]
    text = subprocess.run(list(map(str, told)), check=True, capture_output=True).stdout.decode()
    moment = datetime.strptime(text.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    return folder / "cert.pem", round(moment.timestamp() * 1000)


@pytest.mark.parametrize("days", [1, 29, 31, 3650, 36500])
def test_the_end_of_a_certificate_is_the_one_that_openssl_reads(tmp_path, days):
    path, end = certificate(tmp_path, days)

    assert ends_ms(path.read_bytes()) == end
    assert ends_ms(b"text\n" + path.read_bytes() * 2) == end


def test_a_certificate_is_told_of_a_month_before_it_ends(store, tmp_path):
    path, _ = certificate(tmp_path, 40)
    watch = Watch(store, certificates=[path, tmp_path / "missing.pem"])
    watch.clock.now_ms = round(datetime.now(UTC).timestamp() * 1000)
    watch.turn()
    assert watch.on() == []
    watch.turn(15 * 86_400)

    assert watch.on() == ["certificate-expiring"]


@given(st.binary(max_size=400))
def test_what_is_no_certificate_is_refused(junk):
    import base64  # noqa: PLC0415 (used here only)

    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(junk)
    for raw in (junk, pem + b"-----END CERTIFICATE-----\n"):
        with pytest.raises(CertificateError):
            ends_ms(raw)


def test_a_disk_can_be_looked_at(tmp_path):
    assert 0 <= free_percent(tmp_path) <= 100
    assert free_percent(tmp_path / "missing") is None
