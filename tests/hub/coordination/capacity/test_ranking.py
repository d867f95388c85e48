"""The first offer is beaten by none; weights decide among those; ties are certain and fair."""

from hypothesis import given
from hypothesis import strategies as st

from hub.coordination.capacity.ranking import Criteria, Weights, rank

TIME = Weights(time=1.0, distance=0.0, co2=0.0)
values = st.one_of(st.none(), st.floats(0, 100))
offers = st.lists(
    st.builds(Criteria, st.floats(0, 1000), values, values, st.none()), min_size=1, max_size=25
)
weights = st.builds(Weights, st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.floats(0, 10))


def order(found, loads=None, weights=TIME):
    names = [str(n) for n in range(len(found))]
    return [j.place for j in rank(found, loads or [0.0] * len(found), names, weights)]


def worst(column):
    known = [each for each in column if each is not None]
    return [max(known, default=0.0) if each is None else each for each in column]


@given(offers, weights)
def test_nobody_stands_before_one_that_beats_it(found, weights):
    columns = [worst([offer[i] for offer in found]) for i in range(4)]
    rows = list(zip(*columns, strict=True))
    judged = rank(found, [0.0] * len(found), [f"{n:03}" for n in range(len(found))], weights)

    for place, each in enumerate(judged):
        beaten = any(
            all(a <= b for a, b in zip(rows[o], rows[each.place], strict=True))
            and rows[o] != rows[each.place]
            for o in range(len(rows))
        )
        assert each.pareto == (not beaten)
        assert not each.pareto or all(before.pareto for before in judged[:place])
    assert sorted(each.place for each in judged) == list(range(len(found)))


@given(offers, weights, st.randoms())
def test_the_order_in_which_offers_come_changes_nothing(found, weights, random):
    names = [f"{n:03}" for n in range(len(found))]
    mixed = list(range(len(found)))
    random.shuffle(mixed)

    straight = rank(found, [0.0] * len(found), names, weights)
    shuffled = rank(
        [found[n] for n in mixed], [0.0] * len(found), [names[n] for n in mixed], weights
    )

    assert [each.place for each in straight] == [mixed[each.place] for each in shuffled]


def test_weights_choose_among_offers_of_which_none_is_better_in_all():
    soon, near = Criteria(1, 50, 5, None), Criteria(9, 5, 5, None)

    assert order([soon, near], weights=TIME) == [0, 1]
    assert order([soon, near], weights=Weights(time=0.0, distance=1.0, co2=0.0)) == [1, 0]


def test_what_is_as_good_goes_to_whom_had_less_to_do():
    same = Criteria(5, 5, 5, None)

    assert order([same, same, same], loads=[0.9, 0.1, 0.5]) == [1, 2, 0]


def test_a_hair_s_breadth_is_no_reason_to_pass_over_the_idle_one():
    found = [Criteria(0, 1, 0, None), Criteria(0.1, 0.9, 0, None), Criteria(100, 0, 0, None)]

    assert order(found, loads=[0.8, 0.2, 0.0])[:2] == [1, 0]


def test_without_any_weight_time_decides():
    found = [Criteria(9, 0, 0, None), Criteria(1, 9, 0, None)]

    assert order(found, weights=Weights(0, 0, 0, 0)) == [1, 0]
    assert rank([], [], [], TIME) == []
