import math

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.errors import BadParameter
from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.spec import KernelSpec
from qallow_agent.kernels.values import ITEM_BYTES, converted

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)
SPECS = st.sampled_from([elasticity.SPEC, harmonic.SPEC])


@settings(deadline=None, max_examples=200)
@given(SPECS, st.data())
def test_validation_gives_typed_values_within_bounds_or_refuses(
    spec: KernelSpec, data: st.DataObject
) -> None:
    names = st.sampled_from([parameter.name for parameter in spec.parameters] + ["other"])
    given_values = data.draw(st.dictionaries(names, JUNK, max_size=4))
    try:
        values = spec.validate(given_values)
    except BadParameter:
        return
    for parameter in spec.parameters:
        value = values[parameter.name]
        assert type(value) is (int if parameter.dtype == "i8" else float)
        assert parameter.ge is None or value >= parameter.ge
        assert parameter.le is None or value <= parameter.le
    assert spec.validate(values) == values
    demand = spec.demand(values, 3)
    assert demand.ops > 0
    assert demand.memory_bytes >= demand.output_bytes > 0


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(set(ITEM_BYTES) - {"c8", "c16"})), JUNK)
def test_a_converted_number_is_finite_and_stays_itself(dtype: str, value: object) -> None:
    try:
        number = converted("here", dtype, value)
    except BadParameter:
        return
    assert math.isfinite(number)
    assert number == value
    assert converted("here", dtype, number) == number
