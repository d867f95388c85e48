"""One address that a machine refuses costs one signal, and the machine's patience is not tried."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agents.drivers.bisection import LAST_RETEST_S, Group
from edge_agents.drivers.registers import Kind, Limits, RegisterSignal, Table


class Machine:
    """Refuses a block that touches a bad address, or is too long for it."""

    def __init__(self, bad=(), longest=125):
        self.bad = set(bad)
        self.longest = longest
        self.asked = 0

    def answers(self, block):
        self.asked += 1
        return self.knows(block)

    def knows(self, block):
        return block.count <= self.longest and self.bad.isdisjoint(range(block.address, block.end))


def words(*addresses, kind=Kind.UINT16):
    return [RegisterSignal(f"s{one}", Table.HOLDING, one, kind) for one in addresses]


def settle(group, machine, rounds=400):
    """Poll until the machine refuses nothing any more; return the signals read at the end."""
    waiting, retests = list(group.blocks), []
    for _ in range(rounds):
        if not waiting:
            break
        block = waiting.pop(0)
        change = group.answered(block) if machine.answers(block) else group.refused(block)
        waiting = [one for one in waiting if one not in change.removed]
        waiting += change.added
        retests = [(one, delay) for one, delay in retests if one not in change.removed]
        retests += change.retests
    assert not waiting, "the search does not come to an end"
    assert all(machine.knows(block) for block in group.blocks)
    return [signal.name for block in group.blocks for signal in block.signals], retests


def test_a_machine_that_knows_everything_is_asked_as_planned():
    group = Group(words(*range(20)), Limits())
    machine = Machine()

    read, retests = settle(group, machine)

    assert (len(read), machine.asked, retests) == (20, 1, [])


def test_the_one_bad_address_is_left_out_and_the_others_need_two_requests():
    group = Group(words(*range(20)), Limits())

    read, retests = settle(group, Machine(bad=[7]))

    assert group.quarantined == ("s7",)
    assert sorted(read) == sorted(f"s{i}" for i in range(20) if i != 7)
    assert [(one.address, one.count) for one in group.blocks] == [(0, 7), (8, 12)]
    assert [(one.address, delay) for one, delay in retests] == [(7, 5.0)]


def test_a_gap_that_cannot_be_read_costs_no_signal():
    group = Group(words(0, 1, 6, 7), Limits())
    machine = Machine(bad=[3])

    for _ in range(3):  # one passing fault is believed
        read, retests = settle(group, machine)

    assert sorted(read) == ["s0", "s1", "s6", "s7"]
    assert (group.quarantined, retests) == ((), [])
    assert [(one.address, one.count) for one in group.blocks] == [(0, 2), (6, 2)]


def test_a_machine_that_answers_only_short_requests_is_asked_for_less():
    group = Group(words(*range(64)), Limits())
    machine = Machine(longest=20)

    for _ in range(4):
        read, _ = settle(group, machine)

    assert len(read) == 64
    assert group.quarantined == ()
    asked = machine.asked
    settle(group, machine)
    assert machine.asked - asked <= 2 * len(group.blocks)


def test_coils_that_must_be_read_one_by_one_are_found_out_too():
    coils = [RegisterSignal(f"c{i}", Table.COIL, i, Kind.BOOL) for i in range(10)]
    group = Group(coils, Limits())
    machine = Machine(longest=1)

    for _ in range(12):
        read, _ = settle(group, machine)

    assert len(read) == 10
    assert [block.count for block in group.blocks] == [1] * 10


def test_a_refusal_that_passes_changes_nothing_for_good():
    group = Group(words(*range(20)), Limits())
    block = group.blocks[0]
    change = group.refused(block)
    for part in change.added:
        last = group.answered(part)

    assert [(one.address, one.count) for one in last.added] == [(0, 20)]


def test_a_machine_that_starts_refuses_everything_and_is_asked_again_soon_and_ever_more_rarely():
    group = Group(words(0, 1), Limits())
    machine = Machine(bad=[0, 1])
    _, retests = settle(group, machine)
    assert group.quarantined == ("s0", "s1")

    delays = []
    block = retests[0][0]
    for _ in range(12):
        ((block, delay),) = group.refused(block).retests
        delays.append(delay)

    assert delays[:3] == [10.0, 20.0, 40.0]
    assert delays[-1] == LAST_RETEST_S


def test_an_address_that_is_known_again_brings_the_rest_of_the_quarantine_with_it():
    group = Group(words(0, 1, 2), Limits())
    machine = Machine(bad=[0, 1, 2])
    _, retests = settle(group, machine)
    machine.bad.clear()

    change = group.answered(retests[0][0])

    assert [one.name for one in change.released] == ["s0"]
    assert [delay for _, delay in change.retests] == [0.0, 0.0]
    for block, _ in change.retests:
        group.answered(block)
    assert group.quarantined == ()
    assert [(one.address, one.count) for one in group.blocks] == [(0, 3)]


def test_news_about_a_block_that_is_no_longer_asked_changes_nothing():
    group = Group(words(*range(8)), Limits())
    old = group.blocks[0]
    settle(group, Machine(bad=[3]))

    assert group.refused(old) == group.answered(old)
    assert group.quarantined == ("s3",)


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True),
    st.sets(st.integers(0, 60), max_size=8),
    st.integers(1, 125),
)
def test_in_the_end_every_good_signal_is_read_and_only_bad_ones_are_left_out(asked, bad, longest):
    group = Group(words(*asked), Limits())
    machine = Machine(bad, longest)

    for _ in range(8):
        read, _ = settle(group, machine)

    assert set(group.quarantined) == {f"s{one}" for one in asked if one in bad}
    assert sorted(read) == sorted(f"s{one}" for one in asked if one not in bad)
