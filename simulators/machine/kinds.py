"""The kinds of machine found in small factories, with times and powers of a plausible one.

The figures are the author's estimates for a machine of medium size; no standard gives them. They
set the rhythm of a simulation and are no reference for planning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

ControlFamily = Literal["plain", "swapped", "floating"]
"""How the maker lays out its registers; `simulators.modbus_server.registers` says what it means."""


@dataclass(frozen=True, slots=True)
class Names:
    """One text in both languages of the region."""

    en: str
    ja: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of machine: its rhythm, its appetite and how its controller counts."""

    slug: str
    name: Names
    processes: tuple[str, ...]
    maker: str
    model: str
    drive: str
    """Name of the signal that tells the main drive's speed."""
    drive_unit: str
    drive_nominal: float
    cycle_s: float
    """Mean time from part to part."""
    load_share: float
    """Part of the cycle in which a part is changed and the main drive rests."""
    spread: float
    """Half-width of the cycle time's variation, as a share of it."""
    batch: tuple[int, int]
    """Parts of one job, least and most."""
    setup_s: float
    gap_s: float
    """Mean pause between two jobs."""
    mtbf_s: float
    """Mean producing time between two failures."""
    mttr_s: float
    scrap_share: float
    power_cut_kw: float
    power_rest_kw: float
    """Power while ready but not producing."""
    heat_k: float
    """How much warmer than the shop the main drive gets under full load, in kelvin."""
    alarms: tuple[int, ...]
    counter_bits: Literal[16, 32] = 32
    """Width of the part counters; they roll over to zero beyond it."""
    family: ControlFamily = "plain"


_ALL: Final = (
    Kind(
        slug="machining-centre",
        name=Names("Machining centre", "立形マシニングセンタ"),
        processes=("milling-3axis", "drilling"),
        maker="Kita Seiki",
        model="KV-500",
        drive="spindle_rpm",
        drive_unit="rpm",
        drive_nominal=8000,
        cycle_s=240,
        load_share=0.08,
        spread=0.06,
        batch=(12, 60),
        setup_s=1500,
        gap_s=600,
        mtbf_s=6 * 3600,
        mttr_s=1200,
        scrap_share=0.012,
        power_cut_kw=7.5,
        power_rest_kw=1.3,
        heat_k=24,
        alarms=(414, 1004, 2033),
    ),
    Kind(
        slug="nc-lathe",
        name=Names("NC lathe", "NC旋盤"),
        processes=("turning",),
        maker="Kita Seiki",
        model="KL-25",
        drive="spindle_rpm",
        drive_unit="rpm",
        drive_nominal=2800,
        cycle_s=90,
        load_share=0.1,
        spread=0.05,
        batch=(40, 200),
        setup_s=1200,
        gap_s=480,
        mtbf_s=7 * 3600,
        mttr_s=900,
        scrap_share=0.01,
        power_cut_kw=9.0,
        power_rest_kw=1.1,
        heat_k=20,
        alarms=(401, 1021, 2014),
        counter_bits=16,
    ),
    Kind(
        slug="automatic-lathe",
        name=Names("Swiss-type automatic lathe", "主軸移動形自動旋盤"),
        processes=("turning", "micro-turning"),
        maker="Suwa Koki",
        model="SA-12",
        drive="spindle_rpm",
        drive_unit="rpm",
        drive_nominal=10000,
        cycle_s=22,
        load_share=0.06,
        spread=0.03,
        batch=(300, 2000),
        setup_s=2400,
        gap_s=900,
        mtbf_s=10 * 3600,
        mttr_s=700,
        scrap_share=0.006,
        power_cut_kw=3.7,
        power_rest_kw=0.6,
        heat_k=16,
        alarms=(102, 331),
        counter_bits=16,
        family="swapped",
    ),
    Kind(
        slug="press",
        name=Names("Progressive-die press", "順送プレス"),
        processes=("stamping",),
        maker="Yodo Tekko",
        model="YP-80",
        drive="stroke_rate",
        drive_unit="1/min",
        drive_nominal=60,
        cycle_s=1.0,
        load_share=0.0,
        spread=0.02,
        batch=(2000, 9000),
        setup_s=1800,
        gap_s=900,
        mtbf_s=4 * 3600,
        mttr_s=600,
        scrap_share=0.002,
        power_cut_kw=11.0,
        power_rest_kw=2.4,
        heat_k=12,
        alarms=(7, 21, 35),
        counter_bits=16,
        family="swapped",
    ),
    Kind(
        slug="wire-edm",
        name=Names("Wire EDM", "ワイヤ放電加工機"),
        processes=("wire-edm",),
        maker="Nagano Hoden",
        model="NW-40",
        drive="wire_speed",
        drive_unit="m/min",
        drive_nominal=10,
        cycle_s=5400,
        load_share=0.05,
        spread=0.12,
        batch=(1, 4),
        setup_s=1800,
        gap_s=1200,
        mtbf_s=9 * 3600,
        mttr_s=1500,
        scrap_share=0.02,
        power_cut_kw=4.2,
        power_rest_kw=1.0,
        heat_k=6,
        alarms=(51, 52),
        family="floating",
    ),
    Kind(
        slug="injection-moulding",
        name=Names("Injection moulding machine", "射出成形機"),
        processes=("injection-moulding",),
        maker="Higashi Plastics Machine",
        model="HP-130E",
        drive="screw_rpm",
        drive_unit="rpm",
        drive_nominal=120,
        cycle_s=32,
        load_share=0.12,
        spread=0.02,
        batch=(300, 1500),
        setup_s=2700,
        gap_s=900,
        mtbf_s=8 * 3600,
        mttr_s=1000,
        scrap_share=0.015,
        power_cut_kw=14.0,
        power_rest_kw=5.5,
        heat_k=30,
        alarms=(301, 318, 440),
        family="floating",
    ),
    Kind(
        slug="surface-grinder",
        name=Names("Surface grinder", "平面研削盤"),
        processes=("surface-grinding",),
        maker="Suwa Koki",
        model="SG-63",
        drive="spindle_rpm",
        drive_unit="rpm",
        drive_nominal=1800,
        cycle_s=600,
        load_share=0.15,
        spread=0.1,
        batch=(6, 30),
        setup_s=900,
        gap_s=900,
        mtbf_s=12 * 3600,
        mttr_s=900,
        scrap_share=0.008,
        power_cut_kw=5.0,
        power_rest_kw=1.6,
        heat_k=10,
        alarms=(11, 12),
        family="swapped",
    ),
    Kind(
        slug="laser-cutter",
        name=Names("Fibre laser cutter", "ファイバーレーザー加工機"),
        processes=("laser-cutting",),
        maker="Yodo Tekko",
        model="YL-3015",
        drive="feed_speed",
        drive_unit="m/min",
        drive_nominal=18,
        cycle_s=150,
        load_share=0.2,
        spread=0.2,
        batch=(10, 40),
        setup_s=600,
        gap_s=500,
        mtbf_s=6 * 3600,
        mttr_s=800,
        scrap_share=0.01,
        power_cut_kw=16.0,
        power_rest_kw=3.0,
        heat_k=14,
        alarms=(801, 822),
        family="floating",
    ),
    Kind(
        slug="polishing-robot",
        name=Names("Polishing robot", "研磨ロボット"),
        processes=("polishing",),
        maker="Tsubame Robotics",
        model="TR-6P",
        drive="axis_speed",
        drive_unit="deg/s",
        drive_nominal=180,
        cycle_s=75,
        load_share=0.12,
        spread=0.05,
        batch=(60, 300),
        setup_s=900,
        gap_s=600,
        mtbf_s=7 * 3600,
        mttr_s=600,
        scrap_share=0.02,
        power_cut_kw=3.2,
        power_rest_kw=0.5,
        heat_k=11,
        alarms=(1201, 1344),
    ),
    Kind(
        slug="welding-robot",
        name=Names("Welding robot cell", "溶接ロボットセル"),
        processes=("arc-welding",),
        maker="Tsubame Robotics",
        model="TR-8W",
        drive="axis_speed",
        drive_unit="deg/s",
        drive_nominal=120,
        cycle_s=110,
        load_share=0.18,
        spread=0.06,
        batch=(30, 150),
        setup_s=1200,
        gap_s=700,
        mtbf_s=6 * 3600,
        mttr_s=900,
        scrap_share=0.015,
        power_cut_kw=8.5,
        power_rest_kw=0.8,
        heat_k=18,
        alarms=(1102, 1180),
    ),
)

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({kind.slug: kind for kind in _ALL})
"""All kinds by slug."""
