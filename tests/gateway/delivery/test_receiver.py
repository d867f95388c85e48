"""The hub's end: every entry once, acknowledged only when durable, and rebirths asked politely."""

import random

import pytest

from gateway.delivery import Lost, MarkError, NodeBirth, Receiver, read_ack
from gateway.delivery.receiver import EPOCHS_MAX
from gateway.sparkplug import decode, names

SITE, AGENT, EPOCH = "ota", "line-1", 77


@pytest.fixture
def receiver():
    receiver = make({})
    born(receiver)
    acks(receiver, 0)
    return receiver


def make(marks):
    return Receiver(host="hub", marks=marks, rng=random.Random(1))


def born(receiver, now_ms=0, *, epoch=EPOCH, first=1, following=1, bdseq=4):
    lost = receiver.birth(SITE, AGENT, NodeBirth(bdseq, 1, epoch, first, following), now_ms)
    commit(receiver, now_ms)
    return lost


def commit(receiver, now_ms=0):
    facts = receiver.facts()
    receiver.committed(now_ms)
    return facts


def acks(receiver, now_ms):
    found = [read_ack(decode(message.payload)) for message in receiver.poll(now_ms)]
    return [ack for ack in found if ack is not None]


def rebirths(receiver, now_ms):
    commands = [decode(message.payload) for message in receiver.poll(now_ms)]
    return [c for c in commands if any(metric.name == names.REBIRTH for metric in c.metrics)]


def test_an_entry_is_new_once(receiver):
    assert receiver.offer(SITE, AGENT, EPOCH, [1, 2, 3]) == [True] * 3
    assert receiver.offer(SITE, AGENT, EPOCH, [2, 4, 4, 0, 9]) == [False, True, False, False, True]


def test_nothing_is_acknowledged_before_the_commit(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1, 2, 3])
    assert acks(receiver, 1_000) == []
    commit(receiver, 1_000)
    assert acks(receiver, 1_100) == []  # coalesced

    (ack,) = acks(receiver, 1_200)
    assert (ack.offset, ack.ranges, ack.session, ack.host) == (3, (), None, "hub")


def test_a_birth_is_answered_at_once_by_its_session_and_with_the_mark(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1, 2, 5])
    commit(receiver)
    born(receiver, 5_000, following=6, bdseq=200)

    (ack,) = acks(receiver, 5_000)
    assert (ack.session, ack.offset, ack.ranges) == (200, 2, ((5, 5),))


def test_the_answer_waits_until_what_was_judged_before_is_durable(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1, 2])
    receiver.birth(SITE, AGENT, NodeBirth(5, 1, EPOCH, 1, 3), 0)
    assert acks(receiver, 0) == []
    commit(receiver)

    assert acks(receiver, 0)[0].offset == 2


def test_a_rolled_back_batch_is_new_again_and_the_birth_is_answered_all_the_same(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1, 2])
    receiver.birth(SITE, AGENT, NodeBirth(5, 1, EPOCH, 1, 3), 0)
    receiver.facts()
    receiver.rolled_back()

    assert acks(receiver, 0)[0].offset == 0
    assert receiver.offer(SITE, AGENT, EPOCH, [1, 2]) == [True, True]


def test_judgements_made_while_a_commit_runs_belong_to_the_next(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1])
    receiver.facts()
    receiver.offer(SITE, AGENT, EPOCH, [2])
    receiver.committed(0)
    assert acks(receiver, 200)[0].offset == 1
    commit(receiver, 300)

    assert acks(receiver, 500)[0].offset == 2


def test_duplicates_are_acknowledged_again(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1])
    commit(receiver)
    acks(receiver, 1_000)
    receiver.offer(SITE, AGENT, EPOCH, [1])

    assert acks(receiver, 2_000)[0].offset == 1


def test_a_busy_agent_is_acknowledged_without_delay(receiver):
    receiver.offer(SITE, AGENT, EPOCH, list(range(1, 40)))
    commit(receiver, 50)

    assert acks(receiver, 50)[0].offset == 39


def test_at_most_64_ranges_are_told_the_lowest_first(receiver):
    receiver.offer(SITE, AGENT, EPOCH, list(range(2, 400, 2)))
    commit(receiver)

    (ack,) = acks(receiver, 1_000)
    assert ack.offset == 0
    assert ack.ranges == tuple((n, n) for n in range(2, 130, 2))


def test_marks_survive_a_restart(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1, 2, 7])
    receiver.dropped(SITE, AGENT, EPOCH, 4, 5)
    again = make(commit(receiver))

    assert again.offer(SITE, AGENT, EPOCH, list(range(1, 9))) == [
        offset in (3, 6, 8) for offset in range(1, 9)
    ]


@pytest.mark.parametrize(
    "fact",
    [
        {"mark/a/b/x": b""},
        {"mark/a": b""},
        {"mark/a/b/1": b""},
        {"mark/a/b/1": b"\x01\x00\x05"},
        {"mark/a/b/1": b"\xff" * 30},
        {"mark/a/b/1": b"\x09\x00\x00\x00"},
    ],
)
def test_a_garbled_mark_is_refused(fact):
    with pytest.raises(MarkError):
        make(fact)


def test_what_the_agent_no_longer_holds_is_settled_as_lost_and_counted_until_declared(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [2])
    commit(receiver)
    lost = born(receiver, first=6, following=9)

    assert lost == [Lost(EPOCH, 1, 1), Lost(EPOCH, 3, 5)]
    assert receiver.undeclared(SITE, AGENT) == 4
    receiver.dropped(SITE, AGENT, EPOCH, 3, 5)
    assert receiver.undeclared(SITE, AGENT) == 1
    assert acks(receiver, 1_000)[0].offset == 5


def test_a_dead_letter_is_settled(receiver):
    receiver.rejected(SITE, AGENT, EPOCH, 1)
    commit(receiver)

    assert acks(receiver, 1_000)[0].offset == 1


def test_epochs_stand_side_by_side_and_the_oldest_is_forgotten_in_the_end(receiver):
    receiver.offer(SITE, AGENT, EPOCH, [1])
    born(receiver, epoch=78)
    assert receiver.offer(SITE, AGENT, 78, [1]) == [True]
    assert receiver.offer(SITE, AGENT, EPOCH, [1, 2]) == [False, True]
    facts = {}
    for epoch in range(100, 100 + EPOCHS_MAX):
        receiver.birth(SITE, AGENT, NodeBirth(1, 1, epoch, 1, 1), epoch)
        facts |= commit(receiver)

    assert facts[f"mark/{SITE}/{AGENT}/{EPOCH}"] is None
    assert not receiver.knows(SITE, AGENT, EPOCH)
    assert receiver.knows(SITE, AGENT, 100)


def test_an_unknown_epoch_is_refused_and_one_rebirth_asked(receiver):
    for _ in range(20):
        assert receiver.offer(SITE, AGENT, 5, [1, 2]) == [False, False]

    assert len(rebirths(receiver, 0)) == 1


def test_rebirths_are_asked_ever_more_rarely_until_a_birth_comes(receiver):
    asked = 0
    for second in range(600):
        receiver.unknown(SITE, "foreign", second * 1_000)
        asked += len(rebirths(receiver, second * 1_000))
    assert 5 <= asked <= 7

    receiver.birth(SITE, "foreign", NodeBirth(0, 0, 9, 1, 1), 601_000)
    asked = 0
    for second in range(601, 2_000):
        receiver.unknown(SITE, "foreign", second * 1_000)
        asked += len(rebirths(receiver, second * 1_000))
    assert asked >= 4


def test_gaps_are_bounded(receiver):
    verdicts = receiver.offer(SITE, AGENT, EPOCH, list(range(2, 40_000, 2)))

    assert sum(verdicts) < 5_000
    assert receiver.offer(SITE, AGENT, EPOCH, [1]) == [True]  # what closes a gap is welcome
