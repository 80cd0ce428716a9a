import logging
import os
from collections.abc import Iterator

import pytest

from qallow_agent.runtime.ears import Ears
from qallow_agent.runtime.output import OutputLog


@pytest.fixture
def pipe(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[OutputLog, int]]:
    caplog.set_level(logging.INFO, logger="qallow_agent.runner")
    read_end, write_end = os.pipe()
    yield OutputLog(read_end, "runner-1", 5), write_end
    for descriptor in (read_end, write_end):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_lines_are_logged_with_their_source(
    pipe: tuple[OutputLog, int], caplog: pytest.LogCaptureFixture
) -> None:
    output, write_end = pipe
    os.write(write_end, b"one\ntwo\n")
    assert output.read(10.0)
    assert caplog.messages == ["one", "two"]
    assert caplog.records[0].facts == {"runner": "runner-1"}  # type: ignore[attr-defined]


def test_a_line_in_pieces_is_logged_whole(
    pipe: tuple[OutputLog, int], caplog: pytest.LogCaptureFixture
) -> None:
    output, write_end = pipe
    for piece in (b"o", b"n", b"e\n"):
        assert caplog.messages == []
        os.write(write_end, piece)
        output.read(10.0)
    assert caplog.messages == ["one"]


def test_the_last_line_needs_no_newline(
    pipe: tuple[OutputLog, int], caplog: pytest.LogCaptureFixture
) -> None:
    output, write_end = pipe
    os.write(write_end, b"Segmentation fault")
    os.close(write_end)
    assert not output.read(10.0)
    output.close()
    assert caplog.messages == ["Segmentation fault"]


def test_bytes_that_are_no_text_are_shown_escaped(
    pipe: tuple[OutputLog, int], caplog: pytest.LogCaptureFixture
) -> None:
    output, write_end = pipe
    os.write(write_end, b"\xff\x00\n")
    output.read(10.0)
    assert caplog.messages == ["\\xff\x00"]


def test_lines_beyond_the_share_of_a_second_are_counted(
    pipe: tuple[OutputLog, int], caplog: pytest.LogCaptureFixture
) -> None:
    output, write_end = pipe
    os.write(write_end, b"line\n" * 12)
    output.read(10.0)
    os.write(write_end, b"line\n")
    output.read(10.9)
    assert caplog.messages == ["line"] * 5
    output.read(11.0)
    assert caplog.messages[5:] == ["(8 more lines were not logged)"]


def test_a_line_without_end_takes_bounded_memory(
    pipe: tuple[OutputLog, int], caplog: pytest.LogCaptureFixture
) -> None:
    output, write_end = pipe
    for second in range(20):
        os.write(write_end, b"x" * 60_000)
        output.read(float(second))
    os.write(write_end, b"\n")
    output.read(30.0)
    assert [len(message) for message in caplog.messages] == [1000]


def test_a_flood_is_not_heard_until_the_second_is_over(pipe: tuple[OutputLog, int]) -> None:
    output, write_end = pipe
    ears = Ears()
    ears.listen(output.descriptor)
    os.write(write_end, b"x\n" * 32_768)
    ears.read(output, 10.0)
    os.set_blocking(write_end, False)
    os.write(write_end, b"y\n")
    assert ears.ready(10.5) == frozenset()
    assert ears.next_deadline() == 11.0
    assert ears.ready(11.0) == {output.descriptor}
    ears.read(output, 11.0)
    assert ears.next_deadline() is None
    ears.deafen(output.descriptor)
    ears.deafen(output.descriptor)
    ears.close()
