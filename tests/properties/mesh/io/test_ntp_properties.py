import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.errors import PeerError
from qallow_agent.mesh.io.ntp import MAX_DISTANCE_S, Measured, _split, judge


@given(st.binary(max_size=100) | st.binary(min_size=48, max_size=48))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_measured_soundly_or_refused(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        measured = judge(data, 1_700_000_000.0, 1_700_000_000.1)
        if isinstance(measured, Measured):
            assert math.isfinite(measured.offset_s)
            assert 0 < measured.bound_s <= MAX_DISTANCE_S


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ("time.example", ("time.example", 123)),
        ("time.example:1123", ("time.example", 1123)),
        ("192.0.2.1:5", ("192.0.2.1", 5)),
        ("2001:db8::1", ("2001:db8::1", 123)),
        ("[2001:db8::1]", ("2001:db8::1", 123)),
        ("[2001:db8::1]:9", ("2001:db8::1", 9)),
    ],
)
def test_a_server_may_be_written_with_or_without_port(server: str, parts: tuple[str, int]) -> None:
    assert _split(server) == parts
