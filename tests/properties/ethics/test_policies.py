"""Policies: an owner can only be stricter, one value has one encoding, junk is a peer's fault."""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import PeerError
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Instant
from qallow_agent.config.policies import read_mesh_policy, read_owner_policy
from qallow_agent.config.policy_text import mesh_text, owner_text
from qallow_agent.ethics.bounds import RAMPED, SCORED, mesh_faults, owner_faults, rises
from qallow_agent.ethics.charter import Charter
from qallow_agent.ethics.clauses import Committee, Grant, Zone
from qallow_agent.ethics.evidence import Evidence, Item
from qallow_agent.ethics.hours import DAY_M, Hours, quiet_until_s
from qallow_agent.ethics.mesh_policy import (
    PRESETS,
    MeshPolicy,
    Profile,
    built_in,
    decode_policy,
    document_digest,
    encode_policy,
    sign_policy,
)
from qallow_agent.ethics.messages import PolicyDocument
from qallow_agent.ethics.owner import OwnerPolicy, decode_owner, encode_owner, stricter
from qallow_agent.ethics.policy import Override, PresetName, Ramp, preset
from qallow_agent.ethics.score import score
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.ethics.signals import SIGNALS, TABLE

NOW_MS = 1_795_000_000_000
NOW = Instant(100.0, NOW_MS * 1_000_000)
KEY = SigningKey(bytes(32))
FREE = [name for name in RAMPED if not SIGNALS[name].stop]
GIVEN = [each.id for each in TABLE if each.role != "ceiling"]
SKIPPABLE = [name for name in SCORED if name not in {"s2.shutdown", "c8", "h5"}]


@st.composite
def ramps(draw: st.DrawFn) -> dict[str, Ramp]:
    found = {}
    for name in draw(st.lists(st.sampled_from(FREE), max_size=8, unique=True)):
        low, high = sorted(
            draw(st.lists(st.integers(-(10**9), 10**9), min_size=2, max_size=2, unique=True))
        )
        found[name] = Ramp(low, high) if rises(RAMPED[name]) else Ramp(high, low)
    return found


HOURS = st.builds(
    Hours,
    st.integers(0, DAY_M - 1),
    st.integers(0, DAY_M - 1),
    st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True).map(
        lambda days: tuple(sorted(days))
    ),
    st.integers(-14 * 60, 14 * 60),
)
NAMES = st.lists(st.from_regex(r"\A[a-z*.:-]{1,9}\Z"), min_size=1, max_size=3).map(tuple)
GRANTS = st.lists(st.builds(Grant, NAMES, NAMES, NAMES), max_size=3).map(tuple)
QUIET = st.lists(HOURS, max_size=2).map(tuple)
REASONS = st.text(max_size=20).filter(str.isprintable)
SKIPPED = st.lists(st.sampled_from(SKIPPABLE), max_size=5, unique=True).map(tuple)
OWNERS = st.builds(
    OwnerPolicy,
    threshold=st.sampled_from([0, 2400, 2950, 3000]),
    ramps=ramps(),
    required=st.lists(st.sampled_from(SCORED), max_size=5, unique=True).map(tuple),
    grants=GRANTS,
    classes=NAMES,
    quiet=QUIET,
    consent=st.booleans(),
    dvfs=st.booleans(),
)


@st.composite
def meshes(draw: st.DrawFn) -> MeshPolicy:
    usual = built_in()
    profiles = {
        name: Profile({**usual.presets[name].ramps, **draw(ramps())}, draw(SKIPPED))
        for name in draw(st.lists(st.sampled_from(PRESETS), min_size=1, unique=True))
    }
    signals = st.sampled_from(SKIPPABLE)
    ends = st.integers(0, 2 * NOW_MS // 1000).map(lambda seconds: seconds * 1000)
    return MeshPolicy(
        version=0,
        threshold=draw(st.integers(2400, 3000)),
        presets=profiles,
        grants=draw(GRANTS),
        observers=draw(NAMES),
        zones=draw(st.dictionaries(st.from_regex(r"\A[a-z.]{1,9}\Z"), st.builds(Zone, NAMES))),
        quiet=draw(QUIET),
        overrides=tuple(draw(st.lists(st.builds(Override, signals, ends, REASONS), max_size=3))),
        committee=Committee(draw(st.integers(1, 31))),
        prices=tuple(
            draw(st.lists(st.integers(0, 1_000_000), min_size=24, max_size=24) | st.just([]))
        ),
        dvfs=draw(st.booleans()),
    )


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    items = []
    for name in draw(st.lists(st.sampled_from(GIVEN), max_size=20, unique=True)):
        signal = SIGNALS[name]
        value = draw(st.none() | st.integers(-(2 * 10**9), 2 * 10**9))
        grade = draw(st.sampled_from(["measured", "estimated", "unknown"]))
        items.append(Item(name, value, signal.unit, NOW_MS, "test", grade))
    return Evidence("n", "d", "j", NOW_MS, tuple(items))


@settings(max_examples=150, deadline=None)
@given(ramps(), SKIPPED, OWNERS, evidences(), st.sampled_from(PRESETS))
def test_what_an_owner_asks_never_raises_a_score(
    changed: dict[str, Ramp],
    skipped: tuple[str, ...],
    owner: OwnerPolicy,
    evidence: Evidence,
    name: PresetName,
) -> None:
    usual = preset(name)
    before = msgspec.structs.replace(usual, ramps={**usual.ramps, **changed}, skipped=skipped)
    after = stricter(before, owner)
    old, new = score(evidence, before, NOW_MS), score(evidence, after, NOW_MS)
    assert new.s <= old.s
    assert new.c <= old.c
    assert new.h <= old.h
    assert set(old.stops) <= set(new.stops)
    assert after.threshold >= before.threshold


@settings(deadline=None, max_examples=25)
@given(meshes(), OWNERS, NAMES, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))
def test_what_an_owner_asks_never_permits_more(
    mesh: MeshPolicy, owner: OwnerPolicy, who: tuple[str, ...], kernel: str, zone: str, data: str
) -> None:
    before = mesh.policy("desktop")
    after = stricter(before, owner)
    assert not after.may(who, kernel, zone) or before.may(who, kernel, zone)
    assert not after.takes(zone, data) or before.takes(zone, data)
    assert set(before.quiet) <= set(after.quiet)
    assert before.dvfs or not after.dvfs


@settings(deadline=None, max_examples=25)
@given(meshes(), st.randoms())
def test_a_digest_does_not_depend_on_the_order_of_keys(
    mesh: MeshPolicy, rng: random.Random
) -> None:
    def shuffled(table: dict[str, object]) -> dict[str, object]:
        names = list(table)
        rng.shuffle(names)
        return {name: table[name] for name in names}

    presets = {
        name: Profile(shuffled(dict(each.ramps)), each.skipped)  # type: ignore[arg-type]
        for name, each in shuffled(dict(mesh.presets)).items()  # type: ignore[union-attr]
    }
    other = msgspec.structs.replace(mesh, presets=presets, zones=shuffled(dict(mesh.zones)))  # type: ignore[arg-type]
    assert encode_policy(other) == encode_policy(mesh)
    assert document_digest(encode_policy(other)) == document_digest(encode_policy(mesh))


@settings(deadline=None, max_examples=25)
@given(meshes(), OWNERS)
def test_policies_survive_their_encodings(mesh: MeshPolicy, owner: OwnerPolicy) -> None:
    assert decode_policy(encode_policy(mesh)) == mesh
    assert decode_owner(encode_owner(owner)) == owner
    assert list(mesh_faults(mesh)) == []
    assert list(owner_faults(owner)) == []


@settings(deadline=None, max_examples=15)
@given(mesh=meshes(), owner=OWNERS)
def test_what_is_written_as_toml_reads_back_the_same(mesh: MeshPolicy, owner: OwnerPolicy) -> None:
    import tempfile  # noqa: PLC0415 - a fixture would be shared by all examples
    from pathlib import Path  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "policy.toml")
        path.write_text(mesh_text(mesh), encoding="utf-8")
        assert read_mesh_policy(path) == mesh
        path.write_text(owner_text(owner), encoding="utf-8")
        assert read_owner_policy(path) == owner


def a_charter() -> Charter:
    return Charter(
        mesh_key=KEY.public, signer=None, settings=EthicsSettings(), rng=random.Random(0), kept={}
    )


@settings(deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=80))
def test_bytes_of_a_peer_raise_peer_errors_only(document: bytes, signature: bytes) -> None:
    for decode in (decode_policy, decode_owner):
        try:
            decode(document)
        except PeerError:
            continue
    signed = KEY.sign(b"qallow/mesh-policy/v1\x00" + document)
    for proof in (signature, signed):  # junk that the mesh key signed is junk all the same
        charter = a_charter()
        try:
            charter.receive("peer", PolicyDocument(document, proof), NOW)
        except PeerError:
            assert charter.digest == a_charter().digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.data())
def test_a_bent_policy_that_is_signed_is_refused_or_sound(data: st.DataObject) -> None:
    whole = msgspec.to_builtins(msgspec.structs.replace(built_in(), version=3))
    field = data.draw(st.sampled_from(sorted(whole)))
    whole[field] = data.draw(JSON)
    document = canonical("qallow/mesh-policy/v1", whole)[len(b"qallow/mesh-policy/v1\x00") :]
    charter = a_charter()
    signature = KEY.sign(b"qallow/mesh-policy/v1\x00" + document)
    try:
        charter.receive("peer", PolicyDocument(document, signature), NOW)
    except PeerError:
        assert charter.holds.mesh.version == 0
    charter.effective(NOW)
    charter.check()


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(6)))
def test_nodes_agree_whatever_order_policies_arrive_in(order: list[int]) -> None:
    policies = [
        msgspec.structs.replace(built_in(), version=1 + number // 2, threshold=2900 + number)
        for number in range(6)
    ]
    charter = a_charter()
    announced = []
    for place in order:
        signed = PolicyDocument(*sign_policy(policies[place], KEY))
        effects = charter.receive("peer", signed, NOW)
        announced += [each for each in effects if isinstance(each, Announce)]
    newest = max(policies[4:], key=lambda each: document_digest(encode_policy(each)))
    assert charter.holds.mesh == newest
    assert announced


@settings(deadline=None)
@given(QUIET, st.integers(0, 14 * 86_400))
def test_quiet_hours_are_those_of_a_plain_clock(spans: tuple[Hours, ...], second: int) -> None:
    wall_s = 1_795_000_000 + second
    found = quiet_until_s(spans, wall_s)

    def plainly_on(moment_s: float) -> bool:
        for span in spans:
            local = int(moment_s // 60) + span.offset_m
            for back in range(DAY_M + 1):
                begin = local - back
                day = (begin // DAY_M + 3) % 7
                length = (span.end_m - span.start_m) % DAY_M or DAY_M
                if begin % DAY_M == span.start_m and day in span.days and back < length:
                    return True
        return False

    assert (found is not None) == plainly_on(wall_s)
    if found is not None:
        assert found > wall_s
        assert plainly_on(found - 60)
    for span in spans:
        assert span.next_change_s(wall_s) > wall_s
