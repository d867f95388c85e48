"""Alias tables of many agents share arrays, and none ever sees another's aliases."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.sparkplug import DataType
from hub.ingest.aliases import IGNORED, UNKNOWN, AliasTables, Signal


def place_of(table, alias):
    at = alias - 128
    return table.start + at if 0 <= at < table.room else None


def test_an_alias_is_found_alone_and_in_the_arrays():
    tables = AliasTables()
    table = tables.add()

    table.learn(200, 5, DataType.DOUBLE)
    table.learn(201, None, DataType.STRING)

    assert table.find(200) == Signal(5, DataType.DOUBLE)
    assert tables.series[place_of(table, 200)] == 5
    assert tables.datatype[place_of(table, 200)] == DataType.DOUBLE
    assert tables.series[place_of(table, 201)] == IGNORED
    assert tables.series[place_of(table, 202)] == UNKNOWN


def test_an_alias_too_short_or_too_long_for_the_arrays_is_found_alone():
    table = AliasTables().add()

    for alias in (0, 127, 16_384, 2**64 - 1):
        table.learn(alias, 5, DataType.DOUBLE)
        assert table.find(alias) == Signal(5, DataType.DOUBLE)
    assert table.room == 0


def test_a_name_belongs_to_its_device():
    table = AliasTables().add()

    table.learn_name("mc-100", "Speed", 5, DataType.DOUBLE)
    table.learn_name(None, "Load", None, DataType.DOUBLE)

    assert table.find_name("mc-100", "Speed") == Signal(5, DataType.DOUBLE)
    assert table.find_name("mc-200", "Speed") is None
    assert table.find_name(None, "Load") == Signal(IGNORED, DataType.DOUBLE)


def test_a_forgotten_table_takes_no_place_from_others():
    tables = AliasTables()
    table, other = tables.add(), tables.add()
    tables.forget(table)

    table.learn(128, 5, DataType.DOUBLE)
    other.learn(128, 6, DataType.DOUBLE)

    assert table.room == 0
    assert table.find(128) == Signal(5, DataType.DOUBLE)
    assert tables.series[place_of(other, 128)] == 6


class SharedArrays(RuleBasedStateMachine):
    """Adds, forgets and fills tables, and compares the arrays with plain dictionaries."""

    @initialize()
    def begin(self):
        self.tables = AliasTables()
        self.models = []

    @rule()
    def add(self):
        self.models.append((self.tables.add(), {}))

    @rule(at=st.integers(0, 99))
    def forget(self, at):
        if self.models:
            table, _ = self.models.pop(at % len(self.models))
            self.tables.forget(table)

    @rule(
        at=st.integers(0, 99),
        alias=st.integers(128, 2_000) | st.sampled_from([128, 16_383]),
        series=st.none() | st.integers(0, 10**6),
        datatype=st.sampled_from(DataType),
    )
    def learn(self, at, alias, series, datatype):
        if self.models:
            table, model = self.models[at % len(self.models)]
            table.learn(alias, series, datatype)
            model[alias] = Signal(IGNORED if series is None else series, datatype)

    @invariant()
    def arrays_agree(self):
        for table, model in self.models:
            end = table.start + table.room
            told = {
                128 + at: Signal(int(series), DataType(int(datatype)))
                for at, (series, datatype) in enumerate(
                    zip(
                        self.tables.series[table.start : end],
                        self.tables.datatype[table.start : end],
                        strict=True,
                    )
                )
                if series != UNKNOWN
            }
            assert told == model
            assert all(table.find(alias) == signal for alias, signal in model.items())


TestSharedArrays = SharedArrays.TestCase
TestSharedArrays.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
