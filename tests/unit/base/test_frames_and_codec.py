import pytest

from qallow_agent.base.codec import Codec
from qallow_agent.base.errors import InvariantBroken, Malformed, TooLarge, UnknownKind
from qallow_agent.base.frames import FrameReader, frame
from qallow_agent.base.message import Done, Failure, Report, kinds

CODEC = Codec(kinds((Failure, Report)), limit_bytes=1000)
FAILURE = Failure("user", "it broke", "mend it")
FRAMES = [(7, b"hello"), (0, b""), (2**64 - 1, bytes(100))]
STREAM = b"".join(frame(channel, payload) for channel, payload in FRAMES)


def test_frames_fed_whole_come_out_in_order() -> None:
    assert FrameReader(1000).feed(STREAM) == FRAMES


def test_frames_fed_byte_by_byte_come_out_the_same() -> None:
    reader = FrameReader(1000)
    assert [got for byte in STREAM for got in reader.feed(bytes([byte]))] == FRAMES


def test_bytes_behind_a_frame_wait_for_the_rest() -> None:
    reader = FrameReader(1000)
    assert reader.feed(STREAM + STREAM[:9]) == FRAMES
    assert reader.feed(STREAM[9:]) == FRAMES


def test_a_truncated_frame_yields_nothing() -> None:
    assert FrameReader(1000).feed(frame(1, b"hello")[:-1]) == []


def test_an_oversized_frame_is_refused_before_it_arrives() -> None:
    with pytest.raises(TooLarge, match="announces 11 bytes, the cap is 10"):
        FrameReader(10).feed(frame(1, bytes(11))[:12])


def test_a_frame_of_exactly_the_cap_passes() -> None:
    assert FrameReader(10).feed(frame(1, bytes(10))) == [(1, bytes(10))]


def test_a_message_survives_the_round_trip() -> None:
    assert CODEC.decode(CODEC.encode(FAILURE)) == FAILURE
    assert CODEC.decode(memoryview(CODEC.encode(FAILURE))) == FAILURE


def test_a_truncated_message_is_malformed_at_every_length() -> None:
    data = CODEC.encode(FAILURE)
    for length in range(len(data)):
        with pytest.raises(Malformed):
            CODEC.decode(data[:length])


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\xa7failure\x01", b"\x91" * 900])
def test_junk_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        CODEC.decode(data)


def test_an_unknown_kind_is_told_apart() -> None:
    other = Codec(kinds((Done,)), 100)
    with pytest.raises(UnknownKind):
        CODEC.decode(other.encode(Done()))


def test_a_kind_that_is_not_spoken_here_is_never_sent() -> None:
    with pytest.raises(InvariantBroken):
        CODEC.encode(Done())


def test_the_cap_holds_in_both_directions() -> None:
    with pytest.raises(TooLarge):
        CODEC.encode(Failure("user", "x" * 1000))
    with pytest.raises(TooLarge):
        CODEC.decode(bytes(1001))
