import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.runtime.memory import allocate, make_segment, map_segment


@pytest.fixture
def segment() -> Iterator[int]:
    descriptor = make_segment(1 << 20)
    yield descriptor
    os.close(descriptor)


def test_what_one_writes_the_other_reads(segment: int) -> None:
    ours, theirs = map_segment(segment, 1 << 20), map_segment(segment, 1 << 20)
    ours[5:8] = b"abc"
    assert theirs[5:8] == b"abc"


def test_nobody_can_shorten_it_under_its_readers(segment: int) -> None:
    for size in (0, 1 << 19, 1 << 21):
        with pytest.raises(PermissionError):
            os.ftruncate(segment, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(segment, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SHRINK])
def test_a_segment_whose_size_may_change_is_refused(seals: int) -> None:
    descriptor = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    with pytest.raises(Malformed):
        map_segment(descriptor, 1 << 20)
    os.close(descriptor)


def test_files_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4096))
    descriptors = [os.open(tmp_path / "file", os.O_RDWR), *os.pipe()]
    for descriptor in descriptors:
        with pytest.raises(Malformed):
            map_segment(descriptor, 1 << 20)
        os.close(descriptor)


def test_too_much_and_nothing_are_refused(segment: int) -> None:
    with pytest.raises(TooLarge):
        map_segment(segment, (1 << 20) - 1)
    empty = make_segment(0)
    with pytest.raises(TooLarge):
        map_segment(empty, 1 << 20)
    os.close(empty)


def test_memory_is_zero_and_refused_beyond_the_limit() -> None:
    memory = allocate(8 << 20)
    assert memory[:16] == bytes(16)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, limits[1]))
    try:
        with pytest.raises(MemoryError):
            allocate(1 << 40)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
