"""Latitude: a node may be stricter than its mesh, and laxer only for a day, as all can see."""

from typing import Any

import msgspec
import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.ethics.clauses import Grant
from qallow_agent.ethics.hours import Hours
from qallow_agent.ethics.latitude import beyond, decode_in_force, encode_in_force
from qallow_agent.ethics.mesh_policy import MeshPolicy, built_in
from qallow_agent.ethics.owner import OwnerPolicy, stricter
from qallow_agent.ethics.policy import Override, Policy, Ramp, policy_digest

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
NIGHT = Hours(1_320, 360)
MESH = msgspec.structs.replace(
    built_in(), version=3, quiet=(NIGHT,), overrides=(Override("c3", NOW_MS + 99 * HOUR_MS),)
)
USUAL = MESH.policy("desktop")


def changed(**changes: Any) -> Policy:
    return msgspec.structs.replace(USUAL, **changes)


def ramp(signal: str, bad: int, good: int) -> Policy:
    return changed(ramps={**USUAL.ramps, signal: Ramp(bad, good)})


@pytest.mark.parametrize("name", ["desktop", "dedicated", "field"])
def test_what_the_mesh_says_is_within_it(name: str) -> None:
    assert beyond(MESH, MESH.policy(name), NOW_MS) == ""


def test_what_an_owner_asks_more_is_within_it() -> None:
    owner = OwnerPolicy(
        threshold=2_950,
        ramps={"h1": Ramp(40_000, 4_000)},
        required=("c3",),
        classes=("public",),
        grants=(Grant(),),
        quiet=(Hours(0, 60),),
        consent=False,
        dvfs=False,
    )
    assert beyond(MESH, stricter(MESH.policy("dedicated"), owner), NOW_MS) == ""


def test_an_owners_override_is_within_it_for_a_day() -> None:
    day = Override("c2", NOW_MS + 24 * HOUR_MS, "a test")
    assert beyond(MESH, changed(overrides=(day,)), NOW_MS) == ""
    week = Override("c2", NOW_MS + 7 * 24 * HOUR_MS, "a test")
    assert "cannot override c2" in beyond(MESH, changed(overrides=(week,)), NOW_MS)


@pytest.mark.parametrize(
    ("claimed", "words"),
    [
        (changed(threshold=2_899), "threshold 2899 is below"),
        (changed(version=2), "version is not"),
        (changed(preset="mine"), "no preset 'mine'"),
        (changed(skipped=("c3",)), "leaves out signals"),
        (changed(quiet=()), "leaves out quiet hours"),
        (changed(dvfs=True), "permits what"),
        (changed(ramps={}), "other signals"),
        (ramp("h1", 500_000, 5_000), "ramp of h1 is laxer"),
        (ramp("h1", 5_000, 50_000), "ramp of h1 is laxer"),
        (changed(grants=(Grant(),)), "grants is not"),
        (changed(prices=(1,)), "prices is not"),
        (changed(overrides=(Override("c7", NOW_MS + 1_000),)), "cannot override c7"),
    ],
)
def test_what_permits_more_is_named(claimed: Policy, words: str) -> None:
    assert words in beyond(MESH, claimed, NOW_MS)


def test_a_mesh_without_consent_or_preset_binds_all() -> None:
    small = MeshPolicy(1, 2_900, {"field": MESH.presets["field"]})
    assert "no preset" in beyond(small, USUAL, NOW_MS)


def test_a_policy_in_force_survives_its_encoding() -> None:
    assert policy_digest(decode_in_force(encode_in_force(USUAL))) == policy_digest(USUAL)
    with pytest.raises(Malformed):
        decode_in_force(b"\x00policy")
