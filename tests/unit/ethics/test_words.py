"""Words: values in human units, moments in UTC."""

import pytest

from qallow_agent.ethics.words import show_moment, show_thousandths, show_value


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, "ratio", "unknown"), (347_000, "ratio", "34.7 %"), (0, "seconds", "0 s"),
        (180_000_000, "seconds", "180 s"), (1_200, "seconds", "1.2 ms"),
        (7_200_000_000, "seconds", "2 h"), (8_400_000, "celsius", "8.4 C"),
        (61_000_000, "watts", "61 W"), (1_250_000, "joules", "1.25 J"),
        (4_000_000, "count", "4"), (0, "flag", "no"), (1_000_000, "flag", "yes"),
    ],
)  # fmt: skip
def test_values_read_in_their_units(value: int | None, unit: str, words: str) -> None:
    assert show_value(value, unit) == words


@pytest.mark.parametrize(
    ("thousandths", "words"), [(2612, "2.612"), (30, "0.030"), (-70, "-0.070"), (0, "0.000")]
)
def test_thousandths_keep_their_three_decimals(thousandths: int, words: str) -> None:
    assert show_thousandths(thousandths) == words


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (0, "1970-01-01 00:00 UTC"), (951_782_399, "2000-02-28 23:59 UTC"),
        (951_782_400, "2000-02-29 00:00 UTC"), (1_709_164_800, "2024-02-29 00:00 UTC"),
        (1_798_761_540, "2026-12-31 23:59 UTC"), (4_107_542_400, "2100-03-01 00:00 UTC"),
        (-1, "1969-12-31 23:59 UTC"),
    ],
)  # fmt: skip
def test_moments_are_told_in_utc(second: int, words: str) -> None:
    assert show_moment(second * 1000) == words
