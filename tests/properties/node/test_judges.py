"""Judges: whatever a peer shows as its decisions ends in an objection or a refusal, never worse."""

from contextlib import suppress
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from qallow_agent.base.errors import PeerError
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant, Send
from qallow_agent.ethics.evidence import Evidence, Item, digest, encode
from qallow_agent.ethics.latitude import encode_in_force
from qallow_agent.ethics.policy import Policy, Ramp, policy_digest, preset
from qallow_agent.ethics.records import EVIDENCE_BYTES, device_hash, job_hash, pack, unpack
from qallow_agent.ethics.signals import SIGNALS
from qallow_agent.ledger.kinds import Blob, DecisionBatch, DecisionValidated
from qallow_agent.ledger.leaf import Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.validation import Complaint
from qallow_agent.node.vouchers import Vouchers
from qallow_agent.testing.effort import Order
from qallow_agent.testing.runners import Craft
from qallow_agent.testing.simulation import Plan, Simulation

ITEMS = st.builds(
    Item,
    st.one_of(st.text(max_size=8), st.sampled_from(sorted(SIGNALS))),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.sampled_from(["ratio", "flag", "watts", "joules", "celsius", "seconds", "count", "x"]),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=8),
    st.sampled_from(["measured", "estimated", "unknown"]),
    st.text(max_size=8),
)
RAMPS = st.builds(Ramp, st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15)).filter(
    lambda ramp: ramp.bad != ramp.good
)
BLOBS = st.builds(Blob, st.binary(max_size=40), st.binary(max_size=200))


@cache
def scene() -> tuple[Simulation, NodeId, DecisionBatch, Instant]:
    """Return a mesh, and the first batch that one of its members showed for a job."""
    simulation = Simulation(Plan(craft=Craft(margin_c=40.0, idle_w=5.0)))
    simulation.mesh(["a", "b"])
    simulation.settle()
    shown: list[DecisionBatch] = []
    validation = simulation.boxes["b"].node.rooms.validation
    honest = validation.submit

    def noted(*batch: Any) -> Any:
        effects = honest(*batch)
        shown.extend(
            each.message
            for each in effects
            if isinstance(each, Send) and isinstance(each.message, DecisionBatch)
        )
        return effects

    validation.submit = noted  # type: ignore[method-assign]
    simulation.submit("a", Order(points=400))
    simulation.until(lambda: bool(shown), 30)
    return simulation, simulation.boxes["b"].id, shown[0], simulation.boxes["a"].clocks.read()


def judge(batch: DecisionBatch) -> Complaint | None:
    """Return what a says of it; nothing but the peer's fault may be raised."""
    simulation, author, _, now = scene()
    judges = simulation.boxes["a"].node.governance.validators.judges
    try:
        return judges.recheck(author, batch, now)
    except PeerError as error:
        return Complaint("", error.message)


def leaf_of(body: bytes, policy: bytes) -> bytes:
    _, author, _, _ = scene()
    return Leaf(LeafKind.DECISIONS, author, Stamp(1, 0), 0, 1, policy, body).encode()


def test_the_honest_batch_is_assented_to() -> None:
    _, _, batch, _ = scene()
    assert judge(batch) is None


@given(st.binary(max_size=300), st.lists(BLOBS, max_size=4))
def test_bytes_that_are_nothing_are_refused(leaf: bytes, blobs: list[Blob]) -> None:
    _, _, batch, _ = scene()
    shown = DecisionBatch(batch.origin, batch.index, leaf, (*batch.evidence, *blobs))
    assert judge(shown) is not None


@given(st.binary(max_size=200), st.lists(BLOBS, max_size=4))
def test_a_leaf_around_junk_is_refused(body: bytes, blobs: list[Blob]) -> None:
    _, _, batch, _ = scene()
    leaf = leaf_of(body, parse_leaf(batch.leaf).policy)
    shown = DecisionBatch(batch.origin, batch.index, leaf, (*batch.evidence, *blobs))
    assert judge(shown) is not None


@given(st.data())
def test_one_bent_byte_is_found_out(data: st.DataObject) -> None:
    _, _, batch, _ = scene()
    place = data.draw(st.integers(0, len(batch.evidence) - 1))
    blob = batch.evidence[place]
    at = data.draw(st.integers(0, len(blob.data) - 1))
    bit = data.draw(st.integers(1, 255))
    bent = blob.data[:at] + bytes([blob.data[at] ^ bit]) + blob.data[at + 1 :]
    blobs = list(batch.evidence)
    blobs[place] = structs.replace(blob, data=bent)
    assert judge(structs.replace(batch, evidence=tuple(blobs))) is not None


@settings(max_examples=200)
@given(
    st.lists(ITEMS, max_size=20),
    st.integers(0, 2**63 - 1),
    st.dictionaries(st.sampled_from(["h1", "s2", "c3", "h4", "x"]), RAMPS, max_size=3),
    st.integers(0, 2**40),
    st.text(max_size=12),
)
def test_well_formed_lies_are_objected_to(
    items: list[Item], at_ms: int, ramps: dict[str, Ramp], version: int, name: str
) -> None:
    _, author, batch, _ = scene()
    usual = preset("dedicated")
    try:
        policy = structs.replace(usual, version=version, ramps={**usual.ramps, **ramps})
    except ValueError:
        policy = Policy(version)
    evidence = Evidence(author, name, "job", at_ms, tuple(items))
    record = unpack(parse_leaf(batch.leaf).body[8:48])
    made = structs.replace(
        record,
        job=job_hash("job"),
        device=device_hash(name),
        evidence=digest(evidence)[:EVIDENCE_BYTES],
    )
    leaf = leaf_of(at_ms.to_bytes(8) + pack(made), policy_digest(policy))
    blobs = (
        Blob(policy_digest(policy), encode_in_force(policy)),
        Blob(digest(evidence), encode(evidence)),
    )
    assert judge(DecisionBatch(batch.origin, batch.index, leaf, blobs)) is not None


@given(
    st.one_of(st.none(), st.binary(max_size=200)),
    st.lists(st.text(max_size=8), max_size=3),
    st.lists(st.binary(max_size=40), max_size=3),
)
def test_what_an_executor_tells_a_desk_raises_only_peer_errors(
    leaf: bytes | None, devices: list[str], evidence: list[bytes]
) -> None:
    simulation, author, batch, now = scene()
    node = simulation.boxes["a"].node
    job = next(iter(node.rooms.desk.counter._roster.live), "job-none")
    vouchers = Vouchers(node.me, node.rooms)
    shown = batch.leaf if leaf is None else leaf
    word = DecisionValidated(str(job), 0, shown, tuple(devices), tuple(evidence), (), ())
    with suppress(PeerError):
        vouchers.learn(author, word, now)
    assert not vouchers._assents.get(job)
