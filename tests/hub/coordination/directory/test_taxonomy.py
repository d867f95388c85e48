"""One word means one thing, labels exist in both languages, and kinds answer for their families.

What the simulators and the example files call processes is in the tree.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import settings
from hub.coordination.directory.taxonomy import Term, Tree, load_taxonomy
from simulators.machine.kinds import KINDS

TAXONOMY = load_taxonomy()
TREES = [TAXONOMY.processes, TAXONOMY.materials]
EXAMPLES = Path(__file__).parents[4] / "deploy" / "examples"
slugs = st.sampled_from([term.slug for term in TAXONOMY.processes.terms])
grades = st.sampled_from([term.slug for term in TAXONOMY.materials.terms])


@pytest.mark.parametrize("tree", TREES, ids=["processes", "materials"])
def test_every_term_has_labels_in_both_languages_and_its_words_lead_to_it(tree):
    for term in tree.terms:
        assert term.ja.strip() == term.ja != ""
        assert term.en.strip() == term.en != ""
        for word in (term.slug, term.ja, term.en, *term.synonyms):
            assert tree.find(word) == term.slug


def test_slugs_of_processes_are_words_of_urls():
    for term in TAXONOMY.processes.terms:
        assert term.slug.replace("-", "").isalnum()
        assert term.slug.isascii()
        assert term.slug == term.slug.lower()


def test_what_simulators_and_examples_call_processes_is_known():
    told = {word for kind in KINDS.values() for word in kind.processes}
    edge = settings.read(EXAMPLES / "edge.yaml").data
    told |= {word for machine in edge["machines"] for word in machine.get("processes", ())}

    assert {word: TAXONOMY.process(word) for word in told} == {word: word for word in told}


def test_the_kind_answers_for_its_family_and_not_the_other_way_round():
    assert TAXONOMY.covers("milling", "milling-5axis")
    assert not TAXONOMY.covers("milling-5axis", "milling")
    assert not TAXONOMY.covers("turning", "milling-5axis")


def test_a_five_axis_machine_does_what_a_three_axis_machine_does():
    assert TAXONOMY.covers("milling-3axis", "milling-5axis")
    assert not TAXONOMY.covers("milling-5axis", "milling-3axis")


def test_a_family_of_materials_answers_for_its_grades_and_a_grade_for_its_family():
    assert TAXONOMY.covers_material("A5052", "aluminium")
    assert TAXONOMY.covers_material("aluminium", "A5052")
    assert not TAXONOMY.covers_material("SUS304", "aluminium")
    assert not TAXONOMY.covers_material("A5052", "A6061")


@pytest.mark.parametrize(
    ("word", "slug"),
    [
        ("\uff33\uff35\uff33\uff13\uff10\uff14", "SUS304"),  # full-width
        ("sus304", "SUS304"),
        ("1.4301", "SUS304"),
        ("  Stainless   steel ", "stainless"),
        ("アルミ", "aluminium"),
    ],
)
def test_materials_are_read_as_people_write_them(word, slug):
    assert TAXONOMY.material(word) == slug


def test_a_misspelt_process_is_answered_with_what_was_meant():
    assert TAXONOMY.process("wiredm") is None
    assert TAXONOMY.processes.near("wiredm")[0] == "wire-edm"


@given(slugs)
def test_everything_covers_itself_and_everything_above_it(slug):
    assert all(TAXONOMY.covers(above, slug) for above in TAXONOMY.processes.ancestry(slug))


@given(slugs, slugs, slugs)
def test_covering_carries_on(a, b, c):
    if TAXONOMY.covers(a, b) and TAXONOMY.covers(b, c):
        assert TAXONOMY.covers(a, c)


@given(grades, grades)
def test_materials_answer_for_each_other_whoever_asks(a, b):
    assert TAXONOMY.covers_material(a, b) is TAXONOMY.covers_material(b, a)


@given(st.text())
def test_any_text_is_read_or_is_none(text):
    found = TAXONOMY.process(text)
    assert found is None or found in TAXONOMY.processes
    assert len(TAXONOMY.processes.near(text)) <= 3


def test_a_tree_whose_words_are_ambiguous_is_refused():
    with pytest.raises(ValueError, match="means both"):
        Tree([Term("a", None, "あ", "A"), Term("b", None, "い", "a")])


def test_a_tree_with_an_orphan_is_refused():
    with pytest.raises(ValueError, match="before its parent"):
        Tree([Term("a", "z", "あ", "A")])


def test_the_files_hold_one_term_a_line_so_that_changes_can_be_read():
    for name in ("processes.json", "materials.json"):
        text = (Path(__file__).parents[4] / "hub" / "coordination" / "directory" / name).read_text(
            "utf-8"
        )
        lines = text.splitlines()
        assert (lines[0], lines[-1]) == ("[", "]")
        assert all(json.loads(line.rstrip(",")) for line in lines[1:-1])
