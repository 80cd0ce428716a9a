import pytest

from qallow_agent.base.errors import CheckpointCorrupt
from qallow_agent.kernels.state import (
    MAGIC,
    Checkpoint,
    Section,
    blob_digest,
    decode_checkpoint,
    encode_checkpoint,
)

KERNEL = "ab" * 32
HERE = Checkpoint(
    kernel_hash=KERNEL,
    tick=1000,
    previous="",
    sections=(
        Section("phase", "f4", (2, 2), bytes(range(16))),
        Section("mean", "f8", (), bytes(8)),
        Section("empty", "u1", (0,), b""),
    ),
)


def test_a_checkpoint_comes_back_as_it_was() -> None:
    assert decode_checkpoint(encode_checkpoint(HERE), kernel_hash=KERNEL) == HERE


def test_checkpoints_chain_by_digest() -> None:
    first = encode_checkpoint(HERE)
    second = Checkpoint(KERNEL, 2000, blob_digest(first), HERE.sections)
    decoded = decode_checkpoint(encode_checkpoint(second), kernel_hash=KERNEL)
    assert decoded.previous == blob_digest(first)
    assert blob_digest(first) != blob_digest(encode_checkpoint(second))


def test_the_state_of_another_kernel_is_refused() -> None:
    with pytest.raises(CheckpointCorrupt, match="belongs to kernel"):
        decode_checkpoint(encode_checkpoint(HERE), kernel_hash="cd" * 32)


def test_a_truncated_checkpoint_is_refused_wherever_it_ends() -> None:
    blob = encode_checkpoint(HERE)
    for end in range(len(blob)):
        with pytest.raises(CheckpointCorrupt):
            decode_checkpoint(blob[:end], kernel_hash=KERNEL)


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(CheckpointCorrupt, match="announces 24 bytes and holds 25"):
        decode_checkpoint(encode_checkpoint(HERE) + b"x", kernel_hash=KERNEL)


def test_an_altered_array_is_refused() -> None:
    blob = bytearray(encode_checkpoint(HERE))
    blob[-1] ^= 1
    with pytest.raises(CheckpointCorrupt, match="do not match their hash"):
        decode_checkpoint(bytes(blob), kernel_hash=KERNEL)


def test_an_absurd_section_or_header_is_refused() -> None:
    for section in (Section("a", "O", (1,), b""), Section("a", "f4", (-1,), b"")):
        blob = encode_checkpoint(Checkpoint(KERNEL, 1, "", (section,)))
        with pytest.raises(CheckpointCorrupt, match="of shape"):
            decode_checkpoint(blob, kernel_hash=KERNEL)
    with pytest.raises(CheckpointCorrupt, match="a header of"):
        decode_checkpoint(MAGIC + b"\xff\xff\xff\xff", kernel_hash=KERNEL)
