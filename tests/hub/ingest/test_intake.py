"""The queue between the broker's thread and ingest: bounded, counted, in order."""

import threading

from hub.ingest.intake import Intake
from hub.ingest.quarantine import Quarantine
from hub.live import Counters


def test_messages_come_out_in_order_and_in_portions():
    intake = Intake(Counters(), messages_max=10, bytes_max=1000)
    for number in range(5):
        intake.put(f"t{number}", b"x")

    assert [m.topic for m in intake.take(3, 1000, 0)] == ["t0", "t1", "t2"]
    assert [m.topic for m in intake.take(3, 1000, 0)] == ["t3", "t4"]
    assert intake.take(3, 1000, 0) == []


def test_a_portion_is_bounded_in_bytes():
    intake = Intake(Counters(), messages_max=10, bytes_max=1000)
    for _ in range(4):
        intake.put("t", bytes(40))

    assert len(intake.take(10, 50, 0)) == 2


def test_too_many_messages_or_bytes_are_counted_and_room_is_won_back(caplog):
    counters = Counters()
    intake = Intake(counters, messages_max=3, bytes_max=100)
    for _ in range(5):
        intake.put("t", b"x")
    assert (len(intake), counters.overflowed) == (3, 2)
    assert len(caplog.records) == 1

    intake.take(10, 1000, 0)
    intake.put("t", bytes(99))
    intake.put("t", bytes(2))
    assert (len(intake), counters.overflowed) == (1, 3)
    intake.take(10, 1000, 0)
    intake.put("t", bytes(100))
    assert len(intake) == 1
    assert (counters.messages, counters.bytes) == (4, 102)


def test_taking_waits_for_a_message_and_can_be_woken():
    intake = Intake(Counters(), messages_max=3, bytes_max=100)
    threading.Timer(0.05, intake.put, ("t", b"x")).start()
    assert len(intake.take(1, 1000, 10)) == 1
    threading.Timer(0.05, intake.wake).start()
    assert intake.take(1, 1000, 10) == []


def test_bad_messages_are_kept_bounded_and_logged_at_a_bounded_rate(caplog):
    counters = Counters()
    quarantine = Quarantine(counters, messages_max=3, bytes_max=100)
    for number in range(9):
        quarantine.put("t", bytes([number]), kind="cut", cause="cut off", now_ms=number)
    assert counters.rejected == {"cut": 9}
    assert [kept.payload for kept in quarantine.list()] == [b"\x08", b"\x07", b"\x06"]
    assert len(caplog.records) == 1

    quarantine.put("t", bytes(200), kind="cut", cause="cut off", now_ms=20_000)
    assert quarantine.list() == []
    assert "8 more" in caplog.text
