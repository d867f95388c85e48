"""Everybody can read it: contrast and colour vision from the tokens, words in both tongues.

Contrast is the ratio of WCAG 2.2 (relative luminance of sRGB). Colour vision deficiencies are
simulated in linear RGB with the matrices of Machado, Oliveira and Fernandes (2009), severity 1.0;
distances are Euclidean in OKLab (Ottosson, 2020), times 100.
"""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

import hub.dashboard
from gateway.model import Quality, Reason, State
from gateway.states import INPUTS_UNKNOWN, NO_RULE, SETTLING
from simulators.machine.kinds import KINDS
from simulators.region.texts import state_rules

DESIGN = Path(hub.dashboard.__file__).parent / "design"
SOURCES = Path(hub.dashboard.__file__).parent / "web" / "src"
STATES = json.loads((DESIGN / "states.json").read_text(encoding="utf-8"))
TOKENS = json.loads((DESIGN / "tokens.json").read_text(encoding="utf-8"))
WORDS = {name: json.loads((DESIGN / f"{name}.json").read_text("utf-8")) for name in ("en", "ja")}
THEMES = ("light", "dark")

VISION = {
    "normal": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def linear(colour):
    parts = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    weights = np.array([0.2126, 0.7152, 0.0722])
    lighter, darker = sorted((float(linear(c) @ weights) for c in (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def oklab(colour, vision):
    seen = np.clip(VISION[vision] @ linear(colour), 0, 1)
    return TO_LAB @ np.cbrt(TO_LMS @ seen)


def distance(one, other, vision):
    return 100 * float(np.linalg.norm(oklab(one, vision) - oklab(other, vision)))


def looks(state, theme):
    yield STATES[state][theme]
    if "signal" in STATES[state]:
        yield STATES[state]["signal"][theme]


def test_the_contrast_formula_gives_the_values_of_the_standard():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


def test_every_state_of_the_model_has_a_look_and_no_other_has():
    assert set(STATES) == set(State)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", STATES)
def test_the_text_of_a_tile_can_be_read(state, theme):
    for look in looks(state, theme):
        assert contrast(look["text"], look["tile"]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", STATES)
def test_the_edge_of_an_abnormal_tile_and_every_icon_stand_out_from_the_page(state, theme):
    tokens = TOKENS[theme]
    for look in looks(state, theme):
        if not STATES[state]["calm"]:
            assert contrast(look["edge"], tokens["page"]) >= 3
        # In chips and tables the icon stands on a plain surface; in "down" on its own fill.
        ground = look["tile"] if state == "down" else tokens["surface"]
        assert contrast(look["text"], ground) >= 3


@pytest.mark.parametrize("theme", THEMES)
def test_plain_text_controls_and_focus_can_be_seen(theme):
    tokens = TOKENS[theme]
    for ground in ("page", "surface"):
        for text in ("text", "muted", "link"):
            assert contrast(tokens[text], tokens[ground]) >= 4.5, (text, ground)
        for mark in ("focus", "control"):
            assert contrast(tokens[mark], tokens[ground]) >= 3, (mark, ground)
    assert contrast(tokens["amber-text"], tokens["amber"]) >= 4.5
    # A calm tile shows its name in the page's text colour and the rest muted.
    for state, style in STATES.items():
        if style["calm"]:
            for text in ("text", "muted"):
                assert contrast(tokens[text], style[theme]["tile"]) >= 4.5, (state, text)


@pytest.mark.parametrize("theme", THEMES)
def test_lines_of_a_trend_stand_out_and_differ(theme):
    tokens = TOKENS[theme]
    for colour in tokens["series"]:
        assert contrast(colour, tokens["surface"]) >= 3
    for one, other in itertools.combinations(tokens["series"], 2):
        assert distance(one, other, "normal") >= 9


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", THEMES)
def test_states_of_one_shape_differ_on_the_timeline_for_everybody(theme, vision):
    full = {"full", "tall"}
    fills = {
        state: look["fill"]
        for state, style in STATES.items()
        if style["shape"] in full
        for look in looks(state, theme)
    }
    assert len(fills) == 5
    for (one, a), (other, b) in itertools.combinations(fills.items(), 2):
        assert distance(a, b, vision) >= 9.5, (one, other)


def test_states_that_are_not_told_by_colour_are_told_by_shape():
    shapes = [style["shape"] for style in STATES.values() if style["shape"] != "full"]
    assert len(shapes) == len(set(shapes))


def test_no_two_states_share_an_icon_a_word_or_a_rank():
    for part in (
        lambda style: style["icon"]["fill"] + style["icon"]["stroke"],
        lambda style: style["word"]["en"],
        lambda style: style["word"]["ja"],
        lambda style: style["rank"],
    ):
        assert len({part(style) for style in STATES.values()}) == len(STATES)


def test_only_down_is_a_solid_fill():
    for theme in THEMES:
        for state, style in STATES.items():
            strong = contrast(style[theme]["tile"], TOKENS[theme]["surface"])
            assert (strong >= 3) == (state == "down"), (theme, state)


def test_both_catalogues_have_the_same_keys_and_the_same_places_for_words():
    assert list(WORDS["en"]) == list(WORDS["ja"])
    for key, text in WORDS["en"].items():
        assert text, key
        assert WORDS["ja"][key], key
        places = [sorted(re.findall(r"\{\w+\}", each[key])) for each in WORDS.values()]
        assert places[0] == places[1], key


def test_every_reason_and_quality_of_the_model_has_a_word():
    for words in WORDS.values():
        for reason in Reason:
            if reason is not Reason.NONE:
                assert f"reason.{reason.name.lower()}" in words
        for quality in Quality:
            assert f"quality.{quality.name.lower()}" in words


def test_what_simulators_and_rules_say_is_said_in_both_languages():
    kinds = {f"kind.{slug}" for slug in KINDS}
    rules = [rule for kind in KINDS.values() for rule in state_rules(kind, 1.0)]
    told = {str(rule["reason"]) for rule in rules if "reason" in rule}
    told |= {INPUTS_UNKNOWN, SETTLING, NO_RULE}
    for words in WORDS.values():
        assert kinds | {f"reason.{word}" for word in told} <= words.keys()


def test_every_key_is_used_and_every_word_on_the_page_comes_from_the_catalogue():
    sources = "\n".join(path.read_text("utf-8") for path in SOURCES.rglob("*.ts*"))
    lite = (*DESIGN.parent.glob("*.py"), DESIGN.parent / "templates" / "lite.html")
    python = "\n".join(path.read_text("utf-8") for path in lite)
    open_ended = (
        "kind.", "reason.", "quality.", "link.", "live.", "settings.", "timeline.range.",
        "wall.machines.", "wall.hidden.", "table.",
    )  # fmt: skip
    for key in WORDS["en"]:
        literal = f'"{key}"' in sources or f'"{key}"' in python
        assert literal or key.startswith(open_ended), f"{key} is used nowhere"
    loose = re.findall(r">\s*([A-Za-z][a-z]+(?: [a-z]+)*)\s*</", sources)
    assert loose == []


def test_languages_are_really_different():
    same = {key for key, text in WORDS["en"].items() if text == WORDS["ja"][key]}
    # A dash, and the names of the languages in themselves.
    assert same == {"value.none", "settings.language.en", "settings.language.ja"}
