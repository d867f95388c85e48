"""A plan reads every signal, splits none, overruns no limit, and is always the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agents.drivers.registers import (
    Block,
    Kind,
    Limits,
    RegisterSignal,
    Table,
    block_of,
    halves,
    plan,
    summary,
)


def word(name, address, kind=Kind.UINT16, **more):
    return RegisterSignal(name, Table.HOLDING, address, kind, **more)


@st.composite
def signals(draw):
    table = draw(st.sampled_from(Table))
    if table.of_bits:
        kind, length = Kind.BOOL, 0
    else:
        kind = draw(st.sampled_from(Kind))
        length = draw(st.integers(1, 250)) if kind is Kind.STRING else 0
    near = st.integers(0, 400) | st.integers(0, 65_400)
    return RegisterSignal(
        name=draw(st.text("abc", min_size=1, max_size=8)),
        table=table,
        address=draw(near),
        kind=kind,
        length_bytes=length,
        period_ms=draw(st.sampled_from([100, 1_000, 5_000])),
    )


limits = st.builds(
    Limits,
    gap_max=st.integers(0, 125),
    words_max=st.integers(1, 125),
    alone=st.booleans(),
)
many = st.lists(signals(), max_size=40, unique_by=lambda signal: signal.name)


@given(many, limits, st.frozensets(st.integers(0, 400), max_size=20))
def test_every_signal_is_read_once_whole_and_within_all_limits(asked, limit, avoid):
    blocks = plan(asked, limit, avoid=avoid)

    read = [signal for block in blocks for signal in block.signals]
    assert sorted(map(repr, read)) == sorted(map(repr, asked))
    for block in blocks:
        hardest = 2_000 if block.table.of_bits else 125
        wished = limit.words_max * (16 if block.table.of_bits else 1)
        longest = max(signal.size for signal in block.signals)
        assert 1 <= block.count <= min(hardest, max(wished, longest))
        assert block.end <= 65_536
        covered = set()
        for signal in block.signals:
            assert (signal.table, signal.period_ms) == (block.table, block.period_ms)
            assert block.address <= signal.address
            assert signal.end <= block.end
            covered.update(range(signal.address, signal.end))
        gaps = set(range(block.address, block.end)) - covered
        assert not gaps & avoid
        assert not limit.alone or len(block.signals) == 1
        run = 0
        for address in range(block.address, block.end):
            run = run + 1 if address in gaps else 0
            assert run <= limit.gap_max


@given(many, limits, st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_signals(asked, limit, rng):
    shuffled = list(asked)
    rng.shuffle(shuffled)

    assert list(map(outline, plan(asked, limit))) == list(map(outline, plan(shuffled, limit)))


def outline(block: Block):
    return (
        block.table,
        block.address,
        block.count,
        block.period_ms,
        sorted(map(repr, block.signals)),
    )


@given(st.lists(signals(), min_size=2, max_size=20))
def test_halves_hold_all_signals_and_each_has_some(asked):
    asked = [one for one in asked if (one.table, one.period_ms) == (asked[0].table, 100)]
    if len(asked) < 2:
        return
    block = block_of(asked)
    left, right = halves(block)

    assert left.signals
    assert right.signals
    assert left.signals + right.signals == block.signals
    assert left.count + right.count <= 2 * block.count


def test_twenty_neighbours_take_one_request():
    blocks = plan([word(f"s{i}", 100 + i) for i in range(20)], Limits())

    assert [(one.address, one.count) for one in blocks] == [(100, 20)]


def test_a_gap_of_eight_is_read_along_and_one_of_nine_is_not():
    asked = [word("a", 0), word("b", 9), word("c", 19)]

    assert [(one.address, one.count) for one in plan(asked, Limits())] == [(0, 10), (19, 1)]


def test_a_gap_with_an_address_to_avoid_is_not_read_along():
    asked = [word("a", 0), word("b", 3), word("c", 6)]

    blocks = plan(asked, Limits(), avoid=frozenset({4}))

    assert [(one.address, one.count) for one in blocks] == [(0, 4), (6, 1)]


def test_a_value_of_two_words_is_never_split_between_requests():
    asked = [word(f"s{i}", 2 * i, Kind.FLOAT32) for i in range(60)]

    assert [one.count for one in plan(asked, Limits(words_max=99))] == [98, 22]


def test_a_text_longer_than_the_wished_request_is_still_read_at_once():
    blocks = plan([word("text", 0, Kind.STRING, length_bytes=250)], Limits(words_max=100))

    assert [one.count for one in blocks] == [125]


def test_different_paces_are_read_apart():
    blocks = plan([word("a", 0, period_ms=1_000), word("b", 1, period_ms=5_000)], Limits())

    assert [(one.address, one.period_ms) for one in blocks] == [(0, 1_000), (1, 5_000)]


def test_a_block_is_halved_at_its_widest_gap():
    left, right = halves(block_of([word("a", 0), word("b", 1), word("c", 8), word("d", 10)]))

    assert (left.names, right.names) == (("a", "b"), ("c", "d"))


@pytest.mark.parametrize(
    "signal",
    [
        word("long", 0, Kind.STRING, length_bytes=252),
        word("late", 65_535, Kind.UINT32),
        word("none", 0, Kind.STRING),
    ],
)
def test_what_no_request_can_hold_is_refused_by_name(signal):
    with pytest.raises(ValueError, match=signal.name):
        plan([signal], Limits())


def test_the_summary_says_how_busy_the_line_will_be():
    blocks = plan([word("a", 0, period_ms=500), word("b", 500, period_ms=1_000)], Limits())

    found = summary(blocks, request_ms=lambda _: 50)

    assert (found.requests, found.addresses, found.requests_per_s) == (2, 2, 3.0)
    assert found.utilisation == pytest.approx(0.15)
