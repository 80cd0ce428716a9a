import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.errors import CheckpointCorrupt
from qallow_agent.kernels.state import (
    MAGIC,
    Checkpoint,
    Section,
    decode_checkpoint,
    encode_checkpoint,
)
from qallow_agent.kernels.values import ITEM_BYTES

KERNEL = "ab" * 32


@st.composite
def sections(draw: st.DrawFn) -> Section:
    dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = ITEM_BYTES[dtype]
    for length in shape:
        size *= length
    return Section(
        draw(st.text(max_size=4)), dtype, shape, draw(st.binary(min_size=size, max_size=size))
    )


CHECKPOINTS = st.builds(
    Checkpoint,
    kernel_hash=st.just(KERNEL),
    tick=st.integers(0, 2**62),
    previous=st.text(max_size=8),
    sections=st.lists(sections(), max_size=3).map(tuple),
    epoch=st.integers(0, 2**62),
    parents=st.lists(st.text(max_size=4), max_size=2).map(tuple),
    scalars=st.dictionaries(
        st.text(max_size=3), st.booleans() | st.integers(0, 9) | st.floats(0, 1)
    ),
)


@settings(deadline=None, max_examples=100)
@given(CHECKPOINTS)
def test_every_checkpoint_survives_its_blob(checkpoint: Checkpoint) -> None:
    blob = encode_checkpoint(checkpoint)
    assert decode_checkpoint(blob, kernel_hash=KERNEL) == checkpoint
    assert encode_checkpoint(checkpoint) == blob


@settings(deadline=None, max_examples=100)
@given(CHECKPOINTS, st.data())
def test_a_flipped_bit_in_the_arrays_never_passes(
    checkpoint: Checkpoint, data: st.DataObject
) -> None:
    blob = bytearray(encode_checkpoint(checkpoint))
    body = sum(len(section.data) for section in checkpoint.sections)
    if not body:
        return
    at = data.draw(st.integers(len(blob) - body, len(blob) - 1))
    blob[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CheckpointCorrupt):
        decode_checkpoint(bytes(blob), kernel_hash=KERNEL)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80), st.booleans())
def test_junk_raises_nothing_else(junk: bytes, prefixed: bool) -> None:  # noqa: FBT001
    blob = MAGIC + len(junk).to_bytes(4) + junk if prefixed else junk
    with pytest.raises(CheckpointCorrupt):
        decode_checkpoint(blob, kernel_hash=KERNEL)
