"""The odometer: what a counter has counted, whatever it shows."""

import pytest

from qallow_agent.energy.counter import Odometer


@pytest.mark.parametrize(
    ("span", "shown", "counted"),
    [
        (0.0, [], 0.0),
        (0.0, [500.0], 0.0),
        (0.0, [500.0, 501.5, 501.5, 510.0], 10.0),
        (262.0, [260.0, 261.0, 3.0], 5.0),
        (262.0, [260.0, 1.0, 260.0, 1.0], 265.0),
        (0.0, [260.0, 261.0, 3.0, 4.0], 5.0),
    ],
    ids=["nothing", "first look", "growing", "a wrap", "two wraps", "a restart"],
)
def test_it_adds_up_a_counter(span: float, shown: list[float], counted: float) -> None:
    odometer = Odometer(span)
    for value in shown:
        odometer.add(value)
    assert odometer.total == pytest.approx(counted)
