import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.canonical import canonical
from qallow_agent.base.codec import Codec
from qallow_agent.base.errors import Malformed, PeerError
from qallow_agent.base.frames import FrameReader, frame
from qallow_agent.base.hlc import MAX_DRIFT_MS, HybridClock, Stamp
from qallow_agent.base.ids import draw_id
from qallow_agent.base.message import Failure, Message, Report, kinds
from qallow_agent.jobs.messages import CONTROL_JOB_KINDS
from qallow_agent.node.commands import CONTROL_KINDS

CODEC = Codec(kinds(CONTROL_KINDS), 1 << 20)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()
documents = st.dictionaries(
    st.text(),
    st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_raise_nothing_but_peer_errors(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        CODEC.decode(data)


@settings(deadline=None)
@given(st.sampled_from(sorted(kinds(CONTROL_JOB_KINDS))), st.binary(max_size=60))
def test_any_body_of_a_known_kind_raises_nothing_but_peer_errors(kind: str, body: bytes) -> None:
    name = kind.encode()
    with contextlib.suppress(PeerError):
        CODEC.decode(b"\x92" + bytes([0xA0 + len(name)]) + name + body)


@settings(deadline=None)
@given(
    st.builds(Failure, st.text(), st.text(), st.text(), st.booleans())
    | st.builds(Report, st.text(), documents)
)
def test_every_answer_survives_the_round_trip(message: Message) -> None:
    assert CODEC.decode(CODEC.encode(message)) == message


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=40)), max_size=6),
    st.lists(st.integers(1, 30)),
)
def test_frames_do_not_depend_on_how_the_stream_is_cut(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frame(channel, payload) for channel, payload in frames)
    reader, got, place = FrameReader(40), list[tuple[int, bytes]](), 0
    for size in [*cuts, len(stream) + 1]:
        got += reader.feed(stream[place : place + size])
        place += size
    assert got == frames


@settings(deadline=None)
@given(
    st.lists(
        st.integers(0, 10**15).map(lambda wall_ns: (None, wall_ns))
        | st.tuples(
            st.builds(Stamp, st.integers(-5, 10**10), st.integers(-1, 0x10000)),
            st.integers(0, 10**15),
        ),
        max_size=40,
    )
)
def test_the_hybrid_clock_never_stands_still_and_exceeds_what_it_saw(
    events: list[tuple[Stamp | None, int]],
) -> None:
    clock = HybridClock()
    for remote, wall_ns in events:
        before = kept = clock.last
        if before.wall_ms > wall_ns // 1_000_000 + MAX_DRIFT_MS:
            before = Stamp(0, 0)  # the wall clock was set back: stamps go back with it
        if remote is None:
            assert before < clock.stamp(wall_ns)
            continue
        try:
            assert max(before, remote) < clock.observe(remote, wall_ns)
        except Malformed:
            assert clock.last == kept


@settings(deadline=None)
@given(documents)
def test_canonical_bytes_are_one_per_value(document: dict[str, object]) -> None:
    turned = dict(reversed(list(document.items())))
    assert canonical("d", document) == canonical("d", turned)


@given(st.randoms(use_true_random=False))
def test_a_drawn_id_is_short_and_printable(rng: object) -> None:
    identity = draw_id("job", rng)  # type: ignore[arg-type]
    assert len(identity) == len("job-") + 16
    assert identity.isascii()
