"""From the files of a CPU counter to the joules of a job, with the counter wrapping in between."""

from pathlib import Path

import pytest

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.machine import Instant
from qallow_agent.energy.meters import Lent, Meters, Sample
from qallow_agent.energy.windows import Use
from qallow_agent.runtime.sensing.rapl import Rapl

RANGE_UJ = 65_532_610_987
IDLE_W, BUSY_W = 20, 55
LEASE, RUNNER = LeaseId("lease-1"), RunnerId("runner-1")


def test_a_counter_that_wraps_in_the_middle_of_a_job_charges_what_was_drawn(
    tmp_path: Path,
) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    rapl, meters = Rapl(tmp_path), Meters(epoch=1, kept={})
    shown_uj = RANGE_UJ - 5 * IDLE_W * 1_000_000 - 150_000_000
    for second in range(20):
        if second == 5:
            meters.lend(Lent(LEASE, RUNNER, JobId("job-1"), NodeId("desk"), "cpu0", "harmonic"))
        busy = 5 < second <= 10
        shown_uj += (IDLE_W + BUSY_W * busy) * 1_000_000
        (zone / "energy_uj").write_text(f"{shown_uj % RANGE_UJ}\n")
        if busy:
            meters.worked(RUNNER, LEASE, second - 1.0, float(second), Use(1.0, 1e9))
        if second == 10:
            meters.end(LEASE, float(second))
        now = Instant(float(second), second * 10**9)
        news = meters.sense({"cpu0": Sample(1, rapl.read(now.mono_s), now.mono_s)}, now)
        if any(account.settled for account in news):
            break
    assert shown_uj > RANGE_UJ
    (account,) = news
    assert account.used.provenance == "measured"
    assert account.used.net_j == pytest.approx(5 * BUSY_W)
    assert account.used.gross_j == pytest.approx(5 * (IDLE_W + BUSY_W))
