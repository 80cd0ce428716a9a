import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import qallow_agent.kernels.elasticity.cpu
import qallow_agent.kernels.harmonic.cpu  # noqa: F401 - compiles while tests are collected
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.execution import run_task

F4 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=40)
@given(st.lists(F4, min_size=1, max_size=20), st.integers(1, 60), st.integers(0, 61))
def test_elasticity_is_bit_equal_for_any_stretch(
    eps: list[float], ticks: int, record_every: int
) -> None:
    columns = {"eps": np.array(eps, np.float32)}
    asked = {"ticks": ticks, "record_every": record_every}
    fast = run_task(elasticity.KERNEL, "cpu", asked, columns, {})
    slow = run_task(elasticity.KERNEL, "reference", asked, columns, {})
    assert all(fast[name].tobytes() == slow[name].tobytes() for name in slow)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(0, 2.0**40, width=32), min_size=1, max_size=20),
    st.integers(2, 40),
    st.integers(1, 30),
    st.integers(0, 31),
)
def test_harmonic_is_bit_equal_for_any_coupling(
    coupling: list[float], pockets: int, ticks: int, record_every: int
) -> None:
    columns = {"coupling": np.array(coupling, np.float32)}
    asked = {"pockets": pockets, "ticks": ticks, "record_every": record_every}
    fast = run_task(harmonic.KERNEL, "cpu", asked, columns, {})
    slow = run_task(harmonic.KERNEL, "reference", asked, columns, {})
    for name, array in slow.items():
        assert np.array_equal(fast[name], array, equal_nan=array.dtype.kind == "f"), name
