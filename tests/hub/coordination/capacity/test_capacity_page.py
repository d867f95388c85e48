"""The page about free capacity names what the program knows, and nothing else."""

import re
from pathlib import Path

from hub.asking import EXIT_CODES
from hub.coordination.capacity.capacity import BASES, PRIOR_CYCLES, RATIO_P90_ASSUMED
from hub.coordination.capacity.matching import CODES
from hub.coordination.capacity.offers import BASIS_WORDS, OFFER_MS
from hub.coordination.capacity.planning import BEAM

PAGE = (Path(__file__).parents[4] / "docs" / "capacity.md").read_text("utf-8")


def test_every_basis_stands_there_with_its_confidence():
    told = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| ([\d.]+) \|$", PAGE, re.MULTILINE))

    assert set(told) == set(BASIS_WORDS)
    assert {basis: float(value) for basis, value in told.items() if basis in BASES} == BASES


def test_every_reason_of_a_refusal_stands_there():
    (listed,) = re.findall(r"one of these codes: (.*?)\. What nobody", PAGE, re.DOTALL)

    assert re.findall(r"`([a-z-]+)`", listed) == list(CODES)


def test_figures_are_those_of_the_program():
    assert f"({PRIOR_CYCLES} · planned" in PAGE
    assert f"by {RATIO_P90_ASSUMED} until" in PAGE
    assert f"the {BEAM} most promising" in PAGE
    assert OFFER_MS == 10 * 60_000
    assert "stands for ten minutes" in PAGE


def test_exit_codes_are_the_same_on_the_page_and_in_the_help():
    told = re.findall(r"(\d) ([a-z ]+?)[,.]", PAGE[PAGE.index("Exit codes:") :].replace("\n", " "))
    helped = re.findall(r"(\d) ([a-z ]+?)(?:,|$)", EXIT_CODES)

    assert dict(told) == dict(helped)
