import msgspec
import pytest

from qallow_agent.base.errors import ConfigError
from qallow_agent.ethics.clauses import Grant, Zone
from qallow_agent.ethics.evidence import Evidence, Item
from qallow_agent.ethics.gate import Admission
from qallow_agent.ethics.hours import Hours, parse_clock, parse_offset, show_hours
from qallow_agent.ethics.owner import OwnerPolicy, stricter
from qallow_agent.ethics.policy import Policy, Ramp, preset
from qallow_agent.ethics.replay import read_evidence, replay

NOW_MS = 1_795_000_000_000


@pytest.mark.parametrize(
    ("grant", "permitted"),
    [
        (Grant(), True),
        (Grant(("submitter",)), True),
        (Grant(("nodeid",)), True),
        (Grant(("worker",)), False),
        (Grant(kernels=("harm*",)), True),
        (Grant(kernels=("elasticity",)), False),
        (Grant(zones=("lab-?",)), True),
        (Grant(zones=("lab",)), False),
    ],
)
def test_a_grant_covers_who_it_names_for_what_it_names(grant: Grant, *, permitted: bool) -> None:
    policy = Policy(grants=(grant,))
    assert policy.may(("nodeid", "submitter"), "harmonic", "lab-1") is permitted


def test_without_grants_everybody_may_and_the_owner_must_agree_too() -> None:
    assert Policy().may((), "harmonic", "")
    own = Policy(grants=(Grant(),), own_grants=(Grant(("operator",)),))
    assert not own.may(("submitter",), "harmonic", "lab")
    assert own.may(("operator",), "harmonic", "lab")


def test_zones_take_what_they_name_and_unnamed_ones_public_data() -> None:
    policy = Policy(zones={"lab": Zone(("secret",)), "any": Zone()})
    assert policy.takes("lab", "secret")
    assert not policy.takes("lab", "public")
    assert policy.takes("any", "secret")
    assert policy.takes("street")
    assert not policy.takes("street", "secret")
    assert Policy().takes("street", "secret")
    assert not Policy(own_classes=("public",)).takes("street", "secret")


def test_a_ramp_of_another_slope_is_left_alone() -> None:
    mesh = preset("desktop")
    odd = stricter(mesh, OwnerPolicy(ramps={"c3": Ramp(100_000, 900_000)}))
    assert odd.ramps == mesh.ramps


def test_a_signal_that_an_owner_requires_counts_again() -> None:
    merged = stricter(preset("dedicated"), OwnerPolicy(required=("c3",)))
    assert "c3" not in merged.skipped
    assert "c2" in merged.skipped


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("00:00", 0), ("23:59", 1439), ("24:00", None), ("7:00", None), ("07:60", None), ("", None)],
)
def test_a_time_of_day_has_two_digits_each(text: str, minutes: int | None) -> None:
    assert parse_clock(text) == minutes


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("Z", 0), ("+01:00", 60), ("-03:30", -210), ("01:00", None), ("CET", None), ("", None)],
)
def test_an_offset_has_a_sign(text: str, minutes: int | None) -> None:
    assert parse_offset(text) == minutes


def test_hours_are_shown_as_people_write_them() -> None:
    assert show_hours(Hours(22 * 60, 7 * 60, (0, 6), -90)) == "22:00-07:00 mon,sun -01:30"
    assert show_hours(Hours(0, 60)) == "00:00-01:00 +00:00"


def test_a_replay_judges_each_placement_at_its_own_moment() -> None:
    def placed(c3: int) -> Evidence:
        shares = [("s1", 900_000, "ratio"), ("s2", 40_000_000, "celsius")]
        shares += [("c1.cpu", 0, "ratio"), ("c3", c3, "ratio"), ("h.fresh", 2_000_000, "count")]
        items = tuple(Item(name, value, unit, NOW_MS, "test") for name, value, unit in shares)
        return Evidence("n", "cpu0", "", NOW_MS, items)

    before = preset("desktop")
    after = msgspec.structs.replace(before, ramps={**before.ramps, "c3": Ramp(300_000, 100_000)})
    lines = [msgspec.json.encode(placed(c3)) for c3 in (0, 260_000, 400_000)]
    outcome = replay(read_evidence([*lines, b"\n"], "file"), before, after)
    assert (outcome.count, outcome.changed) == (3, 1)
    assert outcome.refusal_rate(outcome.before) == pytest.approx(1 / 3)
    [change] = outcome.changes
    assert (change.line, change.culprits) == (2, ("c3",))
    assert (change.before[0], change.after[0]) == (Admission.ADMIT, Admission.REFUSE)


@pytest.mark.parametrize("line", [b"{}", b"[1]", b"nonsense", b"\xff", b"[" * 5000])
def test_a_line_that_is_no_evidence_is_named(line: bytes) -> None:
    with pytest.raises(ConfigError, match="file, line 2"):
        list(read_evidence([b"", line], "file"))
