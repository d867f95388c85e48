"""How a figure is written down, the same for every benchmark."""

import statistics
from collections.abc import Sequence
from typing import Any


def figure(unit: str, runs: Sequence[float], **conditions: object) -> dict[str, Any]:
    """Make a figure of several runs: their median, all of them, and the conditions."""
    return {
        "value": statistics.median(runs),
        "unit": unit,
        "runs": [round(run, 6) for run in runs],
        "conditions": conditions,
    }
