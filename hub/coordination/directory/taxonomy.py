"""The words for what machines do and what they do it to: two trees with stable slugs.

Processes follow the groups of DIN 8580 (`din` gives its number where a node is one), down to what
small shops in Japan call their trade; inspection, handling and engineering stand beside it.
Materials are families with the grades of JIS below them. Labels are Japanese and English.

A slug is never renamed and never given to another meaning: it is written in other people's files.
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Final

WORDS_MAX: Final = 200
"""Longer texts are no words of a taxonomy."""


@dataclass(frozen=True, slots=True)
class Term:
    """One node of a tree."""

    slug: str
    parent: str | None
    ja: str
    en: str
    din: str | None = None
    """Group number of DIN 8580."""
    also: tuple[str, ...] = ()
    """Terms elsewhere in the tree that whoever offers this one can do too."""
    synonyms: tuple[str, ...] = ()


class Tree:
    """One taxonomy. Parents stand before their children.

    Raises:
        ValueError: two terms share a word, or one names a term that is not there.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        self._terms: dict[str, Term] = {}
        self._words: dict[str, str] = {}
        for term in terms:
            if term.parent is not None and term.parent not in self._terms:
                raise ValueError(f"{term.slug} stands before its parent {term.parent}")
            self._add(term)
        for term in self._terms.values():
            if missing := [slug for slug in term.also if slug not in self._terms]:
                raise ValueError(f"{term.slug} names {missing}, which are not there")

    @property
    def terms(self) -> list[Term]:
        """Every term, parents before children."""
        return list(self._terms.values())

    def __contains__(self, slug: str) -> bool:
        """Tell whether a slug is in the tree."""
        return slug in self._terms

    def term(self, slug: str) -> Term | None:
        """Give a term by its slug."""
        return self._terms.get(slug)

    def find(self, word: str) -> str | None:
        """Read a slug, a label or a synonym, in any width, case and kind of hyphen."""
        return self._words.get(_plain(word)) if len(word) <= WORDS_MAX else None

    def near(self, word: str) -> list[str]:
        """Suggest up to three slugs for a word that is none."""
        import difflib  # noqa: PLC0415 (only for people's mistakes)

        found = difflib.get_close_matches(_plain(word[:WORDS_MAX]), self._words, n=6, cutoff=0.5)
        return list(dict.fromkeys(self._words[each] for each in found))[:3]

    def ancestry(self, slug: str) -> tuple[str, ...]:
        """Give a term and everything above it; nothing for an unknown one."""
        found: list[str] = []
        term = self._terms.get(slug)
        while term is not None:
            found.append(term.slug)
            term = None if term.parent is None else self._terms[term.parent]
        return tuple(found)

    def root(self, slug: str) -> str | None:
        """Give the topmost term above one; None for an unknown one."""
        above = self.ancestry(slug)
        return above[-1] if above else None

    def does(self, slug: str) -> frozenset[str]:
        """Give every term that offering `slug` answers: itself, what is above it, and `also`."""
        return self._done.get(slug, frozenset())

    @cached_property
    def _done(self) -> Mapping[str, frozenset[str]]:
        return {
            slug: frozenset(above for each in (slug, *term.also) for above in self.ancestry(each))
            for slug, term in self._terms.items()
        }

    def _add(self, term: Term) -> None:
        if term.slug in self._terms:
            raise ValueError(f"{term.slug} is there twice")
        self._terms[term.slug] = term
        for word in {_plain(w) for w in (term.slug, term.ja, term.en, *term.synonyms)}:
            if self._words.setdefault(word, term.slug) != term.slug:
                raise ValueError(f"{word!r} means both {self._words[word]} and {term.slug}")


@dataclass(frozen=True)
class Taxonomy:
    """Processes and materials."""

    processes: Tree
    materials: Tree

    def process(self, word: str) -> str | None:
        """Read the slug of a process, or None."""
        return self.processes.find(word)

    def material(self, word: str) -> str | None:
        """Read the slug of a material, or None."""
        return self.materials.find(word)

    def covers(self, wanted: str, offered: str) -> bool:
        """Tell whether who offers a process can do the wanted one; both are slugs.

        The kind answers for its family (wanted milling, offered 5-axis milling), never the family
        for its kind; and a 5-axis machine does what a 3-axis machine does.
        """
        return wanted in self.processes.does(offered)

    def covers_material(self, wanted: str, offered: str) -> bool:
        """Tell whether an offered material answers for the wanted one; both are slugs.

        A family answers for its grades, and a grade for who only asks for the family.
        """
        trees = self.materials
        return offered in trees.ancestry(wanted) or wanted in trees.ancestry(offered)


def load_taxonomy() -> Taxonomy:
    """Read the two trees that come with the program."""
    return Taxonomy(_read("processes.json"), _read("materials.json"))


def _read(name: str) -> Tree:
    rows = json.loads(files("hub.coordination.directory").joinpath(name).read_text("utf-8"))
    return Tree(
        Term(
            **{k: v for k, v in row.items() if k not in {"also", "synonyms"}},
            also=tuple(row.get("also", ())),
            synonyms=tuple(row.get("synonyms", ())),
        )
        for row in rows
    )


def _plain(word: str) -> str:
    """Fold width, case, blanks and hyphens: full-width letters are letters."""
    folded = unicodedata.normalize("NFKC", word).casefold().replace("_", "-")
    return "-".join(folded.replace("-", " ").split())
