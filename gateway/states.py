"""What a machine is doing, told from its signals by rules: expressions, holds, evidence. Pure.

A condition is a small language of its own, parsed into a tree and never handed to Python:

    condition   = junction ;
    junction    = conjunction { "or" conjunction } ;
    conjunction = test { "and" test } ;
    test        = "not" test | "(" junction ")" | signal "bit" number
                | operand [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand ] ;
    operand     = signal | number | string | "true" | "false" ;

A signal's name stands bare (``spindle_rpm``, ``axis/x.load``) or, with spaces or hyphens, in
backquotes. A signal alone is true when it is not zero. Whatever depends on a value that nobody
knows is unknown: a state is never guessed from half the inputs.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from gateway.model import Quality, Reason, Sample, State, Value

LENGTH_MAX: Final = 500
DEPTH_MAX: Final = 16
TERMS_MAX: Final = 64
EVIDENCE_LENGTH_MAX: Final = 200
BIT_MAX: Final = 63

INPUTS_UNKNOWN: Final = "inputs-unknown"
"""Reason: a rule that had to be asked lacks an input."""
SETTLING: Final = "settling"
"""Reason: a condition is true but nobody has watched it for its hold yet."""
NO_RULE: Final = "no-rule"
"""Reason: no rule says anything about these inputs."""

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
Word = Literal["and", "or"]

_OPERATORS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RESERVED: Final = frozenset({"and", "or", "not", "bit", "true", "false"})
_BARE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./]*")
_TOKEN: Final = re.compile(
    r"""(?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?))
      | (?P<name>[A-Za-z_][A-Za-z0-9_./]*)
      | `(?P<quoted>[^`\n]+)`
      | "(?P<double>[^"\n]*)" | '(?P<single>[^'\n]*)'
      | (?P<operator>==|!=|<=|>=|<|>)
      | (?P<bracket>[()])""",
    re.VERBOSE | re.ASCII,
)
_FOREIGN_WORDS: Final = {
    "=>": ">=",
    "=<": "<=",
    "&&": "and",
    "||": "or",
    "=": "==",
    "!": "not",
    "<>": "!=",
}


class ExpressionError(ValueError):
    """A condition that cannot be understood: the cause, the column (from 1) and the remedy."""

    def __init__(self, cause: str, column: int, remedy: str) -> None:
        self.cause = cause
        self.column = column
        self.remedy = remedy
        super().__init__(f"column {column}: {cause}. {remedy}")


@dataclass(frozen=True, slots=True)
class Signal:
    """The value of a signal, as an operand."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a text, true or false."""

    value: float | int | bool | str


Operand = Signal | Constant


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands and how they should compare; at least one of them is a signal."""

    left: Operand
    operator: Operator
    right: Operand


@dataclass(frozen=True, slots=True)
class BitTest:
    """One bit of a whole number; bit 0 is the lowest."""

    signal: Signal
    bit: int


@dataclass(frozen=True, slots=True)
class Truth:
    """A signal by itself: true when it is neither false nor zero."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class Negation:
    """The opposite."""

    inner: "Expression"


@dataclass(frozen=True, slots=True)
class Junction:
    """Several conditions joined by one word."""

    word: Word
    parts: "tuple[Expression, ...]"


Expression = Comparison | BitTest | Truth | Negation | Junction


def parse(text: str) -> Expression:
    """Read a condition.

    Raises:
        ExpressionError: and nothing else, whatever the text.
    """
    if len(text) > LENGTH_MAX:
        raise ExpressionError(
            f"is longer than {LENGTH_MAX} characters", LENGTH_MAX + 1, "Make several rules of it"
        )
    return _Parser(text).whole()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        found = _TOKEN.match(text, position)
        if found is None:
            raise _strange(text, position)
        kind = found.lastgroup or ""
        yield _Token(kind, found[kind], position + 1)
        position = found.end()
    yield _Token("end", "", len(text) + 1)


def _strange(text: str, position: int) -> ExpressionError:
    rest = text[position:]
    for foreign, ours in _FOREIGN_WORDS.items():
        if rest.startswith(foreign):
            return ExpressionError(f"{foreign!r} is not known", position + 1, f"Write `{ours}`")
    if rest[0] in "\"'`":
        return ExpressionError("a quote is not closed", position + 1, f"Add {rest[0]}")
    return ExpressionError(
        f"{rest[0]!r} is not known",
        position + 1,
        "Use names, numbers, comparisons, and, or, not, bit; unusual names in backquotes",
    )


class _Parser:
    """Recursive descent, one method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0
        self._terms = 0

    def whole(self) -> Expression:
        expression = self._junction()
        token = self._peek()
        if token.kind == "operator":
            raise self._error("a comparison has two sides", "Join two comparisons by `and`")
        if token.kind != "end":
            raise self._error(f"{token.text!r} is not expected here", "Join conditions by and / or")
        return expression

    def _junction(self) -> Expression:
        return self._joined("or", lambda: self._joined("and", self._test))

    def _joined(self, word: Word, part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self._takes("name", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(word, tuple(parts))

    def _test(self) -> Expression:
        self._depth += 1
        self._terms += 1
        if self._depth > DEPTH_MAX or self._terms > TERMS_MAX:
            raise self._error("the condition is too complicated", "Make several rules of it")
        if self._takes("name", "not"):
            result: Expression = Negation(self._test())
        elif self._takes("bracket", "("):
            result = self._junction()
            if not self._takes("bracket", ")"):
                raise self._error("a bracket is not closed", "Add )")
        else:
            result = self._comparison()
        self._depth -= 1
        return result

    def _comparison(self) -> Expression:
        begin = self._peek()
        left = self._operand()
        if isinstance(left, Signal) and self._takes("name", "bit"):
            return BitTest(left, self._bit())
        token = self._peek()
        if token.kind != "operator":
            if isinstance(left, Signal):
                return Truth(left)
            raise self._error("a constant is no condition", "Compare a signal with it", begin)
        self._next += 1
        right = self._operand()
        if isinstance(left, Constant) and isinstance(right, Constant):
            raise self._error(
                "two constants are compared", "Compare a signal with one of them", begin
            )
        name = next(known for known in _OPERATORS if known == token.text)
        ordered = name not in {"==", "!="}
        if ordered and any(isinstance(getattr(side, "value", 0), str) for side in (left, right)):
            raise self._error("texts have no order", "Compare texts with == or !=", token)
        return Comparison(left, name, right)

    def _operand(self) -> Operand:
        token = self._peek()
        self._next += 1
        match token.kind:
            case "number":
                return Constant(self._number(token))
            case "double" | "single":
                return Constant(token.text)
            case "quoted":
                return Signal(token.text)
            case "name" if token.text in {"true", "false"}:
                return Constant(token.text == "true")
            case "name" if token.text not in _RESERVED:
                return Signal(token.text)
            case _:
                shown = repr(token.text) if token.text else "the end"
                raise self._error(
                    f"a signal or a value should stand before {shown}", "Add one", token
                )

    def _number(self, token: _Token) -> int | float:
        digits = token.text.lstrip("-").lower()
        if digits.startswith("0x") or digits.isdigit():
            size = int(digits, 16 if digits.startswith("0x") else 10)
            return -size if token.text.startswith("-") else size
        number = float(token.text)
        if math.isinf(number):
            raise self._error("this number is too large", "Give a smaller one", token)
        return number

    def _bit(self) -> int:
        token = self._peek()
        if token.kind != "number" or not token.text.isdigit() or int(token.text[:9]) > BIT_MAX:
            raise self._error("the number of a bit is missing", f"Write 0…{BIT_MAX} after `bit`")
        self._next += 1
        return int(token.text[:9])

    def _peek(self) -> _Token:
        return self._tokens[min(self._next, len(self._tokens) - 1)]

    def _takes(self, kind: str, text: str) -> bool:
        token = self._peek()
        taken = token.kind == kind and token.text == text
        self._next += taken
        return taken

    def _error(self, cause: str, remedy: str, token: _Token | None = None) -> ExpressionError:
        return ExpressionError(cause, (token or self._peek()).column, remedy)


def signals(expression: Expression) -> frozenset[str]:
    """Return the names of all signals that the condition asks for."""
    match expression:
        case Comparison(left, _, right):
            return frozenset(side.name for side in (left, right) if isinstance(side, Signal))
        case BitTest(signal) | Truth(signal):
            return frozenset({signal.name})
        case Negation(inner):
            return signals(inner)
        case Junction(_, parts):
            return frozenset().union(*(signals(part) for part in parts))


def write(expression: Expression) -> str:
    """Write a condition so that `parse` gives the same tree again."""
    match expression:
        case Comparison(left, name, right):
            return f"{_write_operand(left)} {name} {_write_operand(right)}"
        case BitTest(signal, bit):
            return f"{_write_operand(signal)} bit {bit}"
        case Truth(signal):
            return _write_operand(signal)
        case Negation(inner):
            return f"not {_bracketed(inner, isinstance(inner, Junction))}"
        case Junction(word, parts):
            return f" {word} ".join(_bracketed(part, _clashes(word, part)) for part in parts)


def _clashes(word: Word, part: Expression) -> bool:
    return isinstance(part, Junction) and not (word == "or" and part.word == "and")


def _bracketed(expression: Expression, needed: bool) -> str:
    return f"({write(expression)})" if needed else write(expression)


def _write_operand(operand: Operand) -> str:
    if isinstance(operand, Constant):
        return show(operand.value)
    bare = _BARE_NAME.fullmatch(operand.name) and operand.name not in _RESERVED
    return operand.name if bare else f"`{operand.name}`"


def show(value: Value) -> str:
    """Write a value as a condition would."""
    match value:
        case None:
            return "no value"
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value}'" if '"' in value else f'"{value}"'
        case float() if value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 (exact digits)
            return str(int(value))
        case _:
            return repr(value)


def evaluate(expression: Expression, values: Mapping[str, Value]) -> bool | None:
    """Tell whether the condition holds; None when any of its inputs is not known.

    An input is also unknown when it has no number where one is needed.
    """
    match expression:
        case Comparison(left, name, right):
            return _compare(_value(left, values), name, _value(right, values))
        case BitTest(signal, bit):
            return _test_bit(_value(signal, values), bit)
        case Truth(signal):
            value = _value(signal, values)
            return None if value is None or isinstance(value, str) else bool(value)
        case Negation(inner):
            truth = evaluate(inner, values)
            return None if truth is None else not truth
        case Junction(word, parts):
            truths = [evaluate(part, values) for part in parts]
            if None in truths:
                return None
            return all(truths) if word == "and" else any(truths)


def _value(operand: Operand, values: Mapping[str, Value]) -> Value:
    value = operand.value if isinstance(operand, Constant) else values.get(operand.name)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _test_bit(word: Value, bit: int) -> bool | None:
    if isinstance(word, float) and word.is_integer():
        word = int(word)
    return bool(word >> bit & 1) if isinstance(word, int) else None


def _compare(left: Value, name: Operator, right: Value) -> bool | None:
    if left is None or right is None or isinstance(left, str) != isinstance(right, str):
        return None
    if isinstance(left, str) and name not in {"==", "!="}:
        return None
    return _OPERATORS[name](left, right)


def explain(expression: Expression, values: Mapping[str, Value]) -> str:
    """Write the condition with the values that its signals have."""
    match expression:
        case Comparison(left, name, right):
            return f"{_explain_operand(left, values)} {name} {_explain_operand(right, values)}"
        case BitTest(signal, bit):
            return f"{_explain_operand(signal, values)} bit {bit}"
        case Truth(signal):
            return _explain_operand(signal, values)
        case Negation(inner):
            text = explain(inner, values)
            return f"not ({text})" if isinstance(inner, Junction) else f"not {text}"
        case Junction(word, parts):
            return f" {word} ".join(
                f"({explain(part, values)})" if _clashes(word, part) else explain(part, values)
                for part in parts
            )


def _explain_operand(operand: Operand, values: Mapping[str, Value]) -> str:
    written = _write_operand(operand)
    return written if isinstance(operand, Constant) else f"{written} {_read(values[operand.name])}"


def _read(value: Value) -> str:
    """Write a reading for people: six digits say enough of a measured value."""
    rounded = isinstance(value, float) and not value.is_integer()
    return f"{value:.6g}" if rounded else show(value)


@dataclass(frozen=True, slots=True)
class Rule:
    """When `condition` has been true for `hold_ms`, the machine is in `state`.

    The rule goes on to count for `release_ms` after its condition ended, so that a spindle that
    stops for a tool change is no idle machine. With `until` a rule that counts goes on until that
    is true, too: two thresholds instead of one keep a noisy value from flickering. Without a
    condition the rule always counts.
    """

    condition: Expression | None
    state: State
    reason: str = ""
    hold_ms: int = 0
    release_ms: int = 0
    until: Expression | None = None

    @property
    def signals(self) -> frozenset[str]:
        """The names of all signals that the rule asks for."""
        asked = (one for one in (self.condition, self.until) if one is not None)
        return frozenset().union(*map(signals, asked))


@dataclass(frozen=True, slots=True)
class StateReport:
    """A machine's state, since when, and what made it so at the moment it began."""

    state: State
    since_ms: int
    reason: str
    evidence: str


class _Standing(Enum):
    """How one rule stands at one moment."""

    COUNTS = "counts"
    NOT = "does not count"
    SETTLING = "true, but not watched for long enough to say no"
    UNKNOWN = "lacks an input"


class _Watch:
    """Watches one rule's condition through time."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._truth: bool | None = None
        self._since_ms = 0  # since when the condition is as it is now, as far as we know
        self._watched = False  # whether we saw it become so
        self._counts = False
        self.deadline_ms: int | None = None

    def step(self, values: Mapping[str, Value], now_ms: int) -> _Standing:
        """Take the inputs of this moment; `deadline_ms` says when time alone changes the answer."""
        self.deadline_ms = None
        if self.rule.condition is None:
            return _Standing.COUNTS
        truth = self._holds(self.rule.condition, values)
        if truth is None:
            self._truth, self._counts = None, False
            return _Standing.UNKNOWN
        if truth is not self._truth:
            self._watched = self._truth is not None
            self._truth, self._since_ms = truth, now_ms
        return self._stand(truth, now_ms)

    def _holds(self, condition: Expression, values: Mapping[str, Value]) -> bool | None:
        """Tell whether the condition holds, or, once the rule counts, whether it has not ended."""
        began = evaluate(condition, values)
        if self.rule.until is None:
            return began
        ended = evaluate(self.rule.until, values)
        if began is None or ended is None:
            return None
        return began or (self._counts and not ended)

    def shift(self, by_ms: int) -> None:
        """Move what was noted along with a clock that was set back."""
        self._since_ms += by_ms

    def _stand(self, truth: bool, now_ms: int) -> _Standing:
        if self._counts != truth:
            due_ms = self._since_ms + (self.rule.hold_ms if truth else self.rule.release_ms)
            if now_ms >= due_ms:
                self._counts = truth
            else:
                self.deadline_ms = due_ms
        if self._counts:
            return _Standing.COUNTS
        return _Standing.SETTLING if truth and not self._watched else _Standing.NOT


class StateJudge:
    """Says what one machine is doing; give it every change of the inputs and of time.

    Rules are asked in order and the first that counts decides. A rule that lacks an input makes
    the state unknown unless an earlier rule counts. So does, after a start or a gap, a condition
    that is true but was not yet watched for its hold: no rule below it may speak meanwhile.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._watches = [_Watch(rule) for rule in rules]
        self._key: tuple[int, State, str] | None = None
        self._report = StateReport(State.UNKNOWN, 0, NO_RULE, "")
        self._last_ms: int | None = None

    def step(self, inputs: Mapping[str, Sample], now_ms: int) -> StateReport:
        """Judge by the latest sample of each signal, at `now_ms` (milliseconds UTC)."""
        if self._last_ms is not None and now_ms < self._last_ms:
            for watch in self._watches:
                watch.shift(now_ms - self._last_ms)
        self._last_ms = now_ms
        values = {name: _usable(sample) for name, sample in inputs.items()}
        standings = [watch.step(values, now_ms) for watch in self._watches]
        index = next((i for i, one in enumerate(standings) if one is not _Standing.NOT), -1)
        state, reason = self._words(index, standings)
        if self._key != (index, state, reason):
            since_ms = now_ms
            if self._key is not None and self._key[1] is state:
                since_ms = self._report.since_ms
            self._key = (index, state, reason)
            evidence = self._evidence(index, standings, inputs, values)
            self._report = StateReport(state, since_ms, reason, evidence[:EVIDENCE_LENGTH_MAX])
        return self._report

    @property
    def deadline_ms(self) -> int | None:
        """When to step again although no input changed; None: only when one does."""
        pending = (watch.deadline_ms for watch in self._watches)
        return min((one for one in pending if one is not None), default=None)

    def _words(self, index: int, standings: Sequence[_Standing]) -> tuple[State, str]:
        if index < 0:
            return State.UNKNOWN, NO_RULE
        if standings[index] is _Standing.COUNTS:
            rule = self._watches[index].rule
            return rule.state, rule.reason
        return State.UNKNOWN, (
            SETTLING if standings[index] is _Standing.SETTLING else INPUTS_UNKNOWN
        )

    def _evidence(
        self,
        index: int,
        standings: Sequence[_Standing],
        inputs: Mapping[str, Sample],
        values: Mapping[str, Value],
    ) -> str:
        rule = self._watches[index].rule if index >= 0 else None
        if rule is None or rule.condition is None:
            asked = sorted(self._asked())
            said = ", ".join(f"{name} {_read(values.get(name))}" for name in asked)
            return f"no condition holds: {said}" if said else "no condition is asked"
        if standings[index] is _Standing.UNKNOWN:
            return (
                ", ".join(
                    _lack(name, inputs.get(name))
                    for name in sorted(rule.signals)
                    if values.get(name) is None
                )
                or "an input has an unusable type"
            )
        text = explain(rule.condition, values)
        if standings[index] is _Standing.SETTLING:
            return f"{text}, not yet for {_seconds(rule.hold_ms)}"
        if not evaluate(rule.condition, values):
            return _lasting(rule, values)
        return f"{text} for {_seconds(rule.hold_ms)}" if rule.hold_ms else text

    def _asked(self) -> frozenset[str]:
        return frozenset().union(*(watch.rule.signals for watch in self._watches))


def _lasting(rule: Rule, values: Mapping[str, Value]) -> str:
    """Say why a rule still counts although its condition does not hold any more."""
    if rule.until is not None and not evaluate(rule.until, values):
        return explain(Negation(rule.until), values)
    ended = rule.until or Negation(rule.condition or Truth(Signal("")))
    return f"{explain(ended, values)}, not yet for {_seconds(rule.release_ms)}"


def _usable(sample: Sample) -> Value:
    return None if sample.quality is Quality.BAD else sample.value


def _lack(name: str, sample: Sample | None) -> str:
    if sample is None:
        return f"{name} was never read"
    reason = Reason.UNKNOWN if sample.reason is Reason.NONE else sample.reason
    return f"{name} has no value ({reason.name.lower().replace('_', ' ')})"


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:g} s"
