"""Nothing is lost, doubled or put out of order, whatever is killed or cut.

Real processes, a broker without persistence, kill -9; ground truth are the step counters of the
simulated machines. `make chaos` does the same with any number of faults.
"""

import os

import pytest

from tests.system import chaos

pytestmark = pytest.mark.system
FAULTS = 20


@pytest.mark.timeout(400)
def test_twenty_faults_lose_nothing_double_nothing_and_are_over_within_seconds(tmp_path):
    seed = int(os.environ.get("MACHIKOBA_CHAOS_SEED", "11"))

    result = chaos.run(FAULTS, seed, folder=tmp_path)

    assert (result["lost"], result["duplicates"], result["order_violations"]) == (0, 0, 0), result
    assert result["foreign_rows"] == 0, result
    assert result["declared_drops"] == result["hub_counted_drops"] == 0, result
    assert result["faults"] == FAULTS
    assert result["rate_per_s"] >= 1_000, result
    assert min(result["kinds"].values()) >= 2, result
    assert result["committed"] >= 0.9 * result["expected"] > 1_000, result
    assert max(result["recovery_s_max"].values()) <= chaos.RECOVERY_S, result
