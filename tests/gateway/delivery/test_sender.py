"""The agent's end keeps the five rules of acknowledgement, two lanes, and never gives up an entry.

Nothing goes out numbered before a host answered, only the host that counts is obeyed, only what is
settled is given up, what is not comes again, and live entries never wait for older ones.
"""

import itertools
import logging
import random

import pytest

from gateway.delivery import Outgoing
from gateway.delivery.lanes import WINDOW
from gateway.sparkplug import DataType, Metric, Payload, encode, names, read_entry
from tests.gateway.delivery.ends import HOST, AgentEnd, kinds, metrics, payload


@pytest.fixture
def agent(tmp_path):
    agent = AgentEnd(tmp_path)
    yield agent
    agent.journal.close()


def offsets(messages):
    points = [read_entry(message.payload) for message in messages if "DATA" in message.topic]
    return [point[1] for point in points if point]


def historical(message):
    return payload(message).metrics[0].historical


def unsettled(agent):
    return [entry.offset for entry in agent.journal.unsettled(1, 10_000)]


def test_before_an_answer_values_go_out_without_numbers_and_nothing_is_given_up(agent):
    agent.connect()
    said = agent.record(2)

    assert kinds(said) == ["DDATA", "DDATA"]
    assert offsets(said) == []
    agent.ack(2)  # an acknowledgement, but not the answer to this session's birth
    assert unsettled(agent) == [1, 2]
    assert offsets(agent.answer()) == [1, 2]


def test_a_birth_without_answer_is_repeated_ever_more_rarely(agent):
    agent.connect()
    times = []
    while agent.now < 600_000:
        if "NBIRTH" in kinds(agent.advance(500)):
            times.append(agent.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert 2_000 <= times[0] <= 3_000
    assert gaps[0] <= 6_000
    assert max(gaps) >= 60_000
    assert max(gaps) <= 76_000


def test_what_is_acknowledged_is_given_up_and_nothing_else(agent):
    agent.connect(answered=True)
    agent.record(10)
    agent.ack(3, [(5, 6), (9, 9)])

    assert unsettled(agent) == [4, 7, 8, 10]
    assert agent.sender.status().settled == 3


@pytest.mark.parametrize(
    "wrong", [{"host": "other"}, {"epoch": 1}, {"session": 99}], ids=["host", "epoch", "session"]
)
def test_an_acknowledgement_that_is_not_for_this_journal_and_session_is_ignored(agent, wrong):
    agent.connect(answered=True)
    agent.record(3)
    agent.ack(3, **wrong)

    assert unsettled(agent) == [1, 2, 3]


def test_the_first_host_is_pinned_over_restarts(agent):
    agent.connect(answered=True)
    agent.sender.disconnected(0)
    agent.restart()
    agent.connect()
    agent.answer(host="other")
    assert not agent.sender.status().answered

    agent.answer(host=HOST)
    assert agent.sender.status().answered


@pytest.mark.parametrize(
    "ranges", [[5], [3, 5], [9, 8], [5, 6, 6, 7], [7, 8, 5, 5], list(range(5, 400))]
)
def test_garbled_ranges_settle_nothing(agent, ranges):
    agent.connect(answered=True)
    agent.record(10)
    values = [
        (names.ACK_HOST, DataType.STRING, HOST),
        (names.ACK_EPOCH, DataType.UINT64, agent.journal.epoch),
        (names.ACK_OFFSET, DataType.UINT64, 3),
        (names.ACK_RANGES, DataType.UINT64_ARRAY, ranges),
    ]
    command = encode(Payload(1, None, [Metric(name=n, datatype=d, value=v) for n, d, v in values]))
    agent.receive(Outgoing("spBv1.0/ota/NCMD/line-1", command, 0, retain=False))

    assert unsettled(agent) == list(range(1, 11))
    assert agent.sender.status().refused == 1


def test_any_bytes_as_a_command_are_survived(agent):
    agent.connect(answered=True)
    rng = random.Random(3)
    for size in range(300):
        agent.receive(Outgoing("spBv1.0/ota/NCMD/line-1", rng.randbytes(size), 0, retain=False))
    agent.record()

    assert unsettled(agent) == [1]


def test_what_is_not_acknowledged_comes_again_after_two_seconds_marked_historical(agent):
    agent.connect(answered=True)
    assert not historical(agent.record(3)[0])
    agent.ack(0, [(2, 2)])
    assert offsets(agent.advance(1_900)) == []
    said = agent.advance(1_000)

    assert sorted(offsets(said)) == [1, 3]
    assert all(historical(message) for message in said)


def test_live_entries_never_wait_for_the_backlog(agent):
    agent.record(500)  # committed while there was no connection
    agent.connect(answered=True)
    backlog = offsets(agent.published)
    assert backlog == list(range(1, WINDOW + 1))

    assert offsets(agent.record(5))[:5] == [501, 502, 503, 504, 505]


def test_the_backlog_keeps_to_its_window_and_follows_the_acknowledgements(agent):
    agent.record(500)
    agent.connect(answered=True)
    sent = offsets(agent.published)
    while len(sent) < 500:
        new = offsets(agent.ack(sent[-1]) + agent.advance(100))
        assert len(new) <= WINDOW
        sent += new
    agent.ack(500)

    assert sent == list(range(1, 501))
    assert unsettled(agent) == []


def test_the_backlog_takes_at_most_ten_times_the_live_rate(agent):
    agent.record(4_000)
    agent.now += 600_000  # the burst itself is forgotten as a rate
    agent.connect(answered=True)
    started, sent = agent.now, len(offsets(agent.published))
    while agent.now < started + 10_000:
        sent += len(
            offsets(agent.advance(50) + agent.ack(agent.sender.status().settled + WINDOW // 2))
        )

    assert sent <= WINDOW + 10 * 100 * 1.05


def test_three_silences_pause_the_backlog_and_any_acknowledgement_wakes_it(agent):
    agent.record(500)
    agent.connect(answered=True)
    agent.advance(60_000)
    assert agent.sender.status().paused
    assert len(offsets(agent.advance(200_000))) <= 4  # one probe a minute

    live = agent.record()
    assert offsets(live) == [501]  # live goes on, for others look on
    assert len(offsets(agent.ack(0, [(501, 501)]))) == WINDOW


def test_a_host_that_goes_offline_pauses_the_backlog_at_once(agent):
    agent.record(500)
    agent.connect(answered=True)
    agent.state(online=True, time_ms=1)
    agent.state(online=False, time_ms=1)
    assert agent.sender.status().paused

    agent.state(online=True, time_ms=2)
    assert len(offsets(agent.advance(1_000))) == WINDOW


def test_a_hub_restored_from_a_back_up_gets_again_what_is_kept(agent):
    agent.connect(answered=True)
    agent.record(20)
    agent.ack(20)
    agent.record()
    said = agent.ack(5, [(21, 21)])

    assert offsets(said) == list(range(6, 21))


def test_a_copied_journal_goes_on_under_a_new_epoch_and_loses_nothing(agent, caplog):
    agent.connect(answered=True)
    agent.record(4)
    epoch = agent.journal.epoch
    agent.restart()  # as if from a copy: meanwhile the hub has 50 entries of this epoch
    agent.connect()
    with caplog.at_level(logging.ERROR):
        agent.record(2)  # 5 and 6, numbers that the hub knows with other content
        said = agent.answer(offset=50)

    assert "journal-fork" in caplog.text
    assert agent.journal.epoch != epoch
    assert kinds(said)[0] == "NBIRTH"
    assert metrics(said[0])[names.EPOCH].value == agent.journal.epoch
    assert unsettled(agent) == [1, 2]  # what hub and copy have in common is settled
    assert offsets(agent.answer()) == [1, 2]


def test_entries_written_before_any_host_confirmed_the_journal_survive_a_fork(agent):
    agent.record(4)
    agent.restart()  # still without contact: the first four may be a copy's own
    agent.connect()
    agent.answer(offset=50)

    assert unsettled(agent) == [1, 2, 3, 4]


def test_towards_a_foreign_host_an_entry_is_settled_when_its_publish_completed(tmp_path):
    agent = AgentEnd(tmp_path, acknowledged=False)
    agent.record(3)
    agent.connect()
    data = [message for message in agent.published if "DDATA" in message.topic]
    assert [message.token for message in data] == [1, 2, 3]
    agent.sender.published(1, 0)
    agent.sender.published(3, 0)
    agent.sender.unpublished(2, 0)

    assert unsettled(agent) == [2]
    assert [message.token for message in agent.poll()] == [2]
    agent.journal.close()


def test_a_clock_that_steps_back_an_hour_delays_nothing(agent):
    agent.now = 7_200_000
    agent.connect(answered=True)
    agent.record()
    agent.now -= 3_600_000
    agent.poll()

    assert offsets(agent.advance(3_000)) == [1]
