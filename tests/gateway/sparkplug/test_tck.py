"""Marks name assertions that exist, so that a slip of the pen does not count as conformance."""

from tests import tck


def test_the_list_of_assertions_is_the_specifications():
    assert len(tck.assertions()) == len(set(tck.assertions())) == 299


def test_every_mark_names_an_assertion_of_the_specification():
    assert set(tck.marked()) - set(tck.assertions()) == set()
