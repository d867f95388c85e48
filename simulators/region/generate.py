"""Invents a region: N sites with M machines each, half of them Modbus and half OPC UA.

The places are real districts of small manufacturers; the factories are made up. Codes are those
of the municipalities (JIS X 0402), coordinates lie in the district, to about a kilometre.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from simulators.machine import KINDS
from simulators.region.plan import Hours, Location, MachinePlan, Region, Site, Words

SPREAD_DEG: Final = 0.02
"""How far sites of one district lie apart, about 2 km."""
OLD: Final = (0, 2)
"""Site and place of the one machine that is older than its network: it has a serial line behind a
simple gateway. Only in regions that show a bit of everything."""


@dataclass(frozen=True, slots=True)
class _District:
    slug: str
    en: str
    ja: str
    lat: float
    lon: float
    municipality: str
    kinds: tuple[str, ...]
    """What its factories are known for, most typical first."""


_DISTRICTS: Final = (
    _District(
        "ota", "Ota", "大田", 35.5613, 139.7161, "13111",
        ("machining-centre", "nc-lathe", "surface-grinder", "wire-edm"),
    ),
    _District(
        "higashiosaka", "Higashiosaka", "東大阪", 34.6796, 135.6008, "27227",
        ("press", "nc-lathe", "injection-moulding", "machining-centre"),
    ),
    _District(
        "suwa", "Suwa", "諏訪", 36.0391, 138.1140, "20206",
        ("automatic-lathe", "surface-grinder", "machining-centre", "wire-edm"),
    ),
    _District(
        "tsubame-sanjo", "Tsubame-Sanjo", "燕三条", 37.6737, 138.8826, "15213",
        ("press", "polishing-robot", "laser-cutter", "welding-robot"),
    ),
    _District(
        "sumida", "Sumida", "墨田", 35.7107, 139.8015, "13107",
        ("press", "injection-moulding", "laser-cutter", "nc-lathe"),
    ),
    _District(
        "hamamatsu", "Hamamatsu", "浜松", 34.7108, 137.7261, "22130",
        ("machining-centre", "welding-robot", "injection-moulding", "nc-lathe"),
    ),
    _District(
        "sakaki", "Sakaki", "坂城", 36.4617, 138.1800, "20521",
        ("injection-moulding", "machining-centre", "automatic-lathe", "press"),
    ),
    _District(
        "sabae", "Sabae", "鯖江", 35.9565, 136.1843, "18207",
        ("wire-edm", "polishing-robot", "press", "laser-cutter"),
    ),
)  # fmt: skip
_TRADES: Final = (
    ("precision", "Precision", "精密"),
    ("seisakusho", "Works", "製作所"),
    ("kogyo", "Industries", "工業"),
    ("giken", "Engineering", "技研"),
)
_HOURS: Final[Sequence[Hours]] = ("around-the-clock", "day", "two-shifts", "around-the-clock")
"""By the site's number: at any hour some work and some are closed."""
_PREFIXES: Final = {
    "machining-centre": "mc",
    "nc-lathe": "nl",
    "automatic-lathe": "al",
    "press": "pr",
    "wire-edm": "we",
    "injection-moulding": "im",
    "surface-grinder": "sg",
    "laser-cutter": "lc",
    "polishing-robot": "rp",
    "welding-robot": "rw",
}


Protocols = Literal["half", "modbus", "opcua"]
"""What the machines speak: ``half`` gives every second one OPC UA, so each site has both."""


def generated(
    *,
    sites: int,
    machines: int,
    seed: int = 1,
    time_scale: float = 1.0,
    protocols: Protocols = "half",
    step: Literal["tick", "on_read"] = "tick",
) -> Region:
    """Invent a region; the same arguments give the same region."""
    rng = random.Random(seed)
    plans = tuple(_site(index, machines, protocols, rng) for index in range(sites))
    return Region(seed=seed, time_scale=time_scale, step=step, sites=plans)


def _site(index: int, machines: int, protocols: Protocols, rng: random.Random) -> Site:
    round_, place = divmod(index, len(_DISTRICTS))
    district = _DISTRICTS[place]
    slug, en, ja = _TRADES[(index + round_) % len(_TRADES)]
    number = "" if round_ == 0 else f" {round_ + 1}"
    return Site(
        id=f"{district.slug}-{slug}{number.replace(' ', '-')}",
        name=Words(en=f"{district.en} {en}{number}", ja=f"{district.ja}{ja}{number}"),
        location=Location(
            lat=round(district.lat + rng.uniform(-SPREAD_DEG, SPREAD_DEG), 4),
            lon=round(district.lon + rng.uniform(-SPREAD_DEG, SPREAD_DEG), 4),
        ),
        municipality=district.municipality,
        hours=_HOURS[index % len(_HOURS)],
        machines=tuple(
            _machine(district, one, protocols, old=(index, one) == OLD) for one in range(machines)
        ),
    )


def _machine(district: _District, index: int, protocols: Protocols, *, old: bool) -> MachinePlan:
    kinds = district.kinds
    slug = kinds[index % len(kinds)]
    number = index // len(kinds) + 1
    kind = KINDS[slug]
    opcua = index % 2 == 1 if protocols == "half" else protocols == "opcua"
    return MachinePlan(
        id=f"{_PREFIXES[slug]}-{number}",
        kind=slug,
        protocol="opcua" if opcua else "modbus",
        over="rtu_tcp" if old and protocols == "half" else "tcp",
        name=Words(en=f"{kind.name.en} {number}", ja=f"{kind.name.ja} {number}号機"),
    )
