"""Why machines stand still: a catalogue of two levels that sites extend, in two languages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hub.coordination.shop_floor.buckets import Bucket
from hub.store.reasons import SiteReason


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason with its group, its names by language, and the bucket that its time belongs to."""

    code: str
    group: str
    name: Mapping[str, str]
    bucket: Bucket
    own: bool = False
    """Whether the site itself wrote it."""


@dataclass(frozen=True, slots=True)
class Group:
    """The upper level."""

    code: str
    name: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All reasons of one site."""

    groups: Sequence[Group]
    reasons: Mapping[str, Reason]

    def bucket_of(self, code: str) -> Bucket | None:
        """Give the bucket of a reason; None for one that is not in the catalogue."""
        found = self.reasons.get(code)
        return found.bucket if found else None

    def extended(self, told: Sequence[SiteReason]) -> "Catalogue":
        """Give the catalogue with what a site added."""
        own = {
            each.code: Reason(
                each.code,
                each.group,
                {"ja": each.ja, "en": each.en},
                Bucket(each.bucket),
                own=True,
            )
            for each in told
        }
        return Catalogue(self.groups, {**self.reasons, **own})


@cache  # a file of this program, the same for everybody
def standard() -> Catalogue:
    """Give the catalogue that every site starts from."""
    text = files("hub.coordination.shop_floor").joinpath("reasons.json").read_text(encoding="utf-8")
    told = json.loads(text)
    groups = [Group(code, {"ja": g["ja"], "en": g["en"]}) for code, g in told.items()]
    reasons = {
        code: Reason(code, group, {"ja": r["ja"], "en": r["en"]}, Bucket(r["bucket"]))
        for group, g in told.items()
        for code, r in g["reasons"].items()
    }
    return Catalogue(groups, reasons)
