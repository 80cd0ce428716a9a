"""Records: whatever is packed comes back, and junk is only ever the peer's fault."""

from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.base.errors import PeerError
from qallow_agent.ethics.evidence import Evidence, Item, decode, digest, encode
from qallow_agent.ethics.policy import preset
from qallow_agent.ethics.records import RECORD_BYTES, DecisionRecord, pack, unpack
from qallow_agent.ethics.refusal import decode_refusal
from qallow_agent.ethics.signals import SIGNALS
from qallow_agent.ethics.validator import Claim, Observations, revalidate

THOUSANDTHS = st.integers(0, 1000)
BYTE = st.integers(0, 255)
RECORDS = st.builds(
    DecisionRecord,
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 2**32 - 1),
    THOUSANDTHS,
    THOUSANDTHS,
    THOUSANDTHS,
    st.integers(0, 2),
    st.integers(0, 3),
    st.tuples(BYTE, BYTE, BYTE),
    st.binary(min_size=12, max_size=12),
    st.integers(0, 2**16 - 1),
)
ITEMS = st.builds(
    Item,
    st.one_of(st.text(max_size=8), st.sampled_from(sorted(SIGNALS))),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.text(max_size=8), st.sampled_from(["ratio", "flag", "watts", "joules"])),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=8),
    st.sampled_from(["measured", "estimated", "unknown"]),
    st.text(max_size=8),
)


@given(RECORDS)
def test_a_record_takes_forty_bytes_and_comes_back(record: DecisionRecord) -> None:
    data = pack(record)
    assert len(data) == RECORD_BYTES
    assert unpack(data) == record


@given(st.binary(min_size=RECORD_BYTES, max_size=RECORD_BYTES))
def test_forty_bytes_of_junk_are_a_record_or_refused(data: bytes) -> None:
    try:
        found = unpack(data)
    except PeerError:
        return
    assert pack(found) == data


@given(st.lists(ITEMS, max_size=5), st.text(max_size=9))
def test_evidence_survives_the_wire_with_its_digest(items: list[Item], job: str) -> None:
    evidence = Evidence("n", "d", job, 1, tuple(items))
    assert decode(encode(evidence)) == evidence
    assert digest(decode(encode(evidence))) == digest(evidence)


@given(st.lists(ITEMS, max_size=8), RECORDS, st.integers(-(2**63), 2**63 - 1))
def test_no_claim_of_a_peer_upsets_the_validator(
    items: list[Item], record: DecisionRecord, at_ms: int
) -> None:
    evidence = Evidence("n", "d", "j", at_ms, tuple(items))
    earlier = Evidence("n", "d", "j", at_ms - 1, tuple(reversed(items)))
    seen = Observations(1, 5, trail=(earlier,))
    found = revalidate(Claim(evidence, record, 0, b""), preset("desktop"), seen)
    assert all(each.why for each in found)
    assert found


@given(st.binary(max_size=200))
def test_junk_is_the_peers_fault(data: bytes) -> None:
    for read in (decode, decode_refusal, unpack):
        try:
            read(data)
        except PeerError:
            continue
        assert len(data) > 0
