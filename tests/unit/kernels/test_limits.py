import pytest

from qallow_agent.kernels.bounds import Demands, Limits
from qallow_agent.kernels.elasticity import cpu as elasticity
from qallow_agent.kernels.harmonic import cpu as harmonic
from qallow_agent.kernels.limits import ATTEMPTS, LOOPS, measure_limits
from qallow_agent.kernels.threads import CREW

LIMITS = Limits(
    threads=2, adds_per_s=100.0, operations_per_s=150.0, contracted_per_s=300.0,
    stores_per_s=40.0, memory_bytes_per_s=20.0,
)  # fmt: skip


def test_the_tightest_limit_bounds_a_kernel() -> None:
    assert Demands(adds=10, operations=20).bound(LIMITS) == pytest.approx(7.5)
    assert Demands(adds=20, operations=20).bound(LIMITS) == pytest.approx(5.0)
    assert Demands(operations=1, stores=1).bound(LIMITS) == pytest.approx(40.0)
    assert Demands(operations=1, memory_bytes=16).bound(LIMITS) == pytest.approx(1.25)


def test_kernels_declare_their_bounds_in_the_operations_of_their_specs() -> None:
    assert elasticity.bound(LIMITS, {}) == pytest.approx(12 * 150 / 5)
    assert harmonic.bound(LIMITS, {"pockets": 8}) == pytest.approx(25 * 150 / 20)
    assert harmonic.bound(LIMITS, {"pockets": 100}) == pytest.approx(25 * 150 / 26)


def test_a_limit_is_the_best_of_its_attempts() -> None:
    reads = iter(range(10**6))
    seconds = [0.0]

    def clock() -> float:
        seconds[0] += 1.0 if next(reads) % 4 < 2 else 2.0
        return seconds[0]

    limits = measure_limits(2, clock, memory_bytes=1 << 16)
    assert limits.threads == 2
    assert next(reads) == 2 * ATTEMPTS * (len(LOOPS) + 1)
    assert limits.contracted_per_s == pytest.approx(2 * limits.adds_per_s, rel=0.5)
    assert limits.memory_bytes_per_s > 0


def test_measuring_leaves_the_number_of_threads_alone() -> None:
    before = CREW.threads
    measure_limits(before + 1, memory_bytes=1 << 16)
    assert CREW.threads == before
