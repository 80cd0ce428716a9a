"""Receipts and junk: what is read again is the same, and junk raises nothing but PeerError."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.errors import PeerError
from qallow_agent.ledger.credence import Trust, examine
from qallow_agent.ledger.receipt import (
    MAX_BODY_BYTES,
    Admission,
    Column,
    Energy,
    Executor,
    Receipt,
    pack,
    unpack,
)
from qallow_agent.ledger.receiptfile import parse_receipt
from qallow_agent.testing.receipts import NODE, entry_of, example, file_of

TEXTS = st.text(max_size=40)
COUNTS = st.integers(0, 1 << 62)
DIGESTS = st.just(b"") | st.binary(min_size=32, max_size=32)


@st.composite
def energies(draw: st.DrawFn) -> Energy:
    low, net, gross, high = sorted(draw(st.lists(COUNTS, min_size=4, max_size=4)))
    known = draw(st.sampled_from(["measured", "estimated", "unknown"]))
    return Energy(gross, net, low, high, known, draw(TEXTS))  # type: ignore[arg-type]


@st.composite
def admissions(draw: st.DrawFn) -> Admission:
    s, c, h = draw(st.tuples(*(st.integers(0, 1_000) for _ in range(3))))
    culprits = tuple(draw(st.lists(TEXTS, max_size=3)))
    index = draw(st.integers(-1, 1 << 62))
    return Admission(s, c, h, s + c + h, culprits, draw(DIGESTS), draw(DIGESTS), draw(TEXTS), index)


EXECUTORS = st.builds(
    Executor, TEXTS, TEXTS, COUNTS, COUNTS, COUNTS, energies(), st.none() | admissions()
)
COLUMNS = st.builds(Column, TEXTS, TEXTS, st.lists(COUNTS, max_size=8).map(tuple))


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    begin, end = sorted(draw(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40))))
    return example(
        job=draw(TEXTS), kernel=draw(TEXTS), kernel_hash=draw(TEXTS), inputs=draw(DIGESTS),
        outputs=draw(DIGESTS), columns=tuple(draw(st.lists(COLUMNS, max_size=5))),
        end=draw(st.sampled_from(["succeeded", "failed", "cancelled", "expired"])),
        points=draw(COUNTS), done=draw(COUNTS), failed=draw(COUNTS), rerun=draw(COUNTS),
        submitted_ms=begin, ended_ms=end, bound_ms=draw(st.integers(-1, 1 << 62)),
        energy=draw(energies()), executors=tuple(draw(st.lists(EXECUTORS, max_size=4))),
        left_out=draw(COUNTS), flags=tuple(draw(st.lists(TEXTS, max_size=3))),
        replicas=draw(COUNTS), validators=tuple(draw(st.lists(TEXTS, max_size=3))), node=NODE,
    )  # fmt: skip


@given(receipts())
@settings(deadline=None, max_examples=100)
def test_every_receipt_is_read_as_it_was_written(receipt: Receipt) -> None:
    body = pack(receipt)
    assert len(body) <= MAX_BODY_BYTES
    assert unpack(body) == receipt


@given(receipts())
@settings(deadline=None, max_examples=25)
def test_every_file_is_read_as_it_was_written_and_proves_its_receipt(receipt: Receipt) -> None:
    file = file_of(entry_of(receipt))
    assert parse_receipt(file.encode()) == file
    assert examine(file, Trust(node=NODE)).receipt == receipt


@given(st.binary(max_size=300), st.integers(0, 2_000), st.binary(max_size=8))
@settings(deadline=None, max_examples=200)
def test_junk_raises_nothing_but_peer_errors(junk: bytes, place: int, patch: bytes) -> None:
    file = file_of(entry_of(example())).encode()
    body = pack(example())
    read = 0
    for data in (junk, body[:place] + patch + body[place + 1 :]):
        with suppress(PeerError):
            read += pack(unpack(data)) == data or 100
    patched = file[:place] + patch + file[place + len(patch) :]
    for data in (junk, patched):
        with suppress(PeerError):
            read += examine(parse_receipt(data), Trust(node=NODE)).receipt == example() or 100
    assert read < 100, "junk was read as something else than it is"
