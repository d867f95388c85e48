"""Settings tell each mistake with place, cause and remedy; only SettingsError leaves."""

import random
from pathlib import Path
from typing import Literal

import pydantic
import pytest

from gateway import settings


class Broker(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    url: str
    port: int = pydantic.Field(default=1883, ge=1, le=65535)


class Rule(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    word: Literal["off", "running"] = pydantic.Field(alias="is")


class Program(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    broker: Broker
    rules: list[Rule] = []

    @pydantic.model_validator(mode="after")
    def one_rule_at_most(self):
        if len(self.rules) > 1:
            raise settings.MistakeError("has two rules", "Keep one")
        return self


def problems_of(text, model=Program):
    with pytest.raises(settings.SettingsError) as raised:
        settings.validate(settings.parse(text, Path("a.yaml")), model)
    return [str(problem) for problem in raised.value.problems]


def test_a_good_file_becomes_a_model():
    document = settings.parse("broker: {url: mqtt://hub, port: 1884}\n", Path("a.yaml"))

    assert settings.validate(document, Program).broker.port == 1884


def test_the_word_off_stays_a_word():
    document = settings.parse("broker: {url: x}\nrules:\n- is: off\n", Path("a.yaml"))

    assert settings.validate(document, Program).rules[0].word == "off"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "broker:\n  url: x\n  prot: 1\n",
            "a.yaml:3:3: broker.prot: unknown key. Did you mean `port`?",
        ),
        ("broker: {}\n", "a.yaml:1:1: broker.url: is missing. Add `url:`"),
        (
            "broker:\n  url: x\n  port: 70000\n",
            "a.yaml:3:3: broker.port: input should be less than or equal to 65535. Found: 70000",
        ),
        (
            "broker: {url: x}\nrules:\n- {is: off}\n- {is: off}\n",
            "a.yaml:1:1: has two rules. Keep one",
        ),
        (
            "broker: {url: x}\nbroker: 2\n",
            "a.yaml:2:1: broker: is given twice. Remove one of the two",
        ),
        ("- 1\n", "a.yaml: must hold keys and values. Start it with `key: value` lines"),
        (
            "broker: [\n",
            (
                "a.yaml:2:1: expected the node content, but found '<stream end>'. "
                "Check indentation, colons and quotes around here"
            ),
        ),
    ],
)
def test_a_mistake_names_place_cause_and_remedy(text, expected):
    assert problems_of(text) == [expected]


def test_one_bad_item_stops_only_itself():
    document = settings.parse("rules:\n- is: off\n- is: flying\n- is: running\n", Path("a.yaml"))

    good, problems = settings.validate_each(document, Rule, ("rules",))

    assert [rule.word for rule in good] == ["off", "running"]
    assert [problem.place for problem in problems] == ["a.yaml:3:3"]


def test_the_environment_wins_over_the_file_and_is_named_as_the_place():
    document = settings.parse("broker: {url: x}\n", Path("a.yaml"))
    settings.override(document, {"MK_BROKER__PORT": "zero", "PATH": "/bin"}, "MK_")

    with pytest.raises(settings.SettingsError, match="environment variable MK_BROKER__PORT"):
        settings.validate(document, Program)


def test_a_missing_file_is_told_in_one_line(tmp_path):
    with pytest.raises(settings.SettingsError, match=r"none\.yaml: cannot be read"):
        settings.read(tmp_path / "none.yaml")


def test_a_secret_that_everybody_may_read_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "password"
    path.write_text("hush\n")
    path.chmod(0o644)
    with pytest.raises(settings.SettingsError, match="chmod 600"):
        settings.secret(path, None)

    path.chmod(0o600)

    assert settings.secret(path, None) == "hush"
    assert settings.secret(None, "MK_PASSWORD", {"MK_PASSWORD": "quiet"}) == "quiet"
    assert settings.secret(None, None) is None


def test_expanding_references_are_refused_before_they_fill_the_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    with pytest.raises(settings.SettingsError, match="nested too deeply or too large"):
        settings.parse("\n".join(lines), Path("a.yaml"))


def test_whatever_the_text_only_settings_errors_leave():
    rng = random.Random(7)
    seed = "broker: {url: 'mqtt://x', port: 0x10}\nrules:\n- is: off\n- &a is: *a\n"
    told = 0
    alphabet = "\t\n :-{}[]&*!|>'\"%@`#,?~0x.eEabz\x00\u2028é"
    for _ in range(4_000):
        text = list(seed)
        for _ in range(rng.randint(1, 8)):
            text[rng.randrange(len(text))] = rng.choice(alphabet)
        try:
            settings.validate(settings.parse("".join(text), Path("a.yaml")), Program)
        except settings.SettingsError as error:
            told += bool(error.problems)
        else:
            told += 1
    assert told == 4_000
