import os
import threading

import pytest

from qallow_agent.kernels.threads import Crew


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("total", [0, 1, 3, 40, 41])
@pytest.mark.parametrize("grain", [1, 4, 50])
def test_spans_cover_all_work_once(threads: int, total: int, grain: int) -> None:
    crew = Crew()
    spans: list[tuple[int, int]] = []
    crew.resize(threads)
    crew.run(lambda begin, end: spans.append((begin, end)), total, grain)
    covered = [number for begin, end in sorted(spans) for number in range(begin, end)]
    assert covered == list(range(total))
    assert all(begin % grain == 0 for begin, _end in spans)
    assert len(spans) == min(total, 1) if threads == 1 else len(spans) <= -(-total // grain)


def test_two_threads_work_at_a_time() -> None:
    crew, both = Crew(), threading.Barrier(2, timeout=10)
    crew.resize(2)
    crew.run(lambda _begin, _end: both.wait(), 2)


def test_one_thread_starts_no_other() -> None:
    crew = Crew()
    ran: list[threading.Thread] = []
    crew.run(lambda _begin, _end: ran.append(threading.current_thread()), 5)
    assert set(ran) == {threading.current_thread()}


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_part_raises_comes_out(threads: int) -> None:
    crew = Crew()
    crew.resize(threads)

    def part(begin: int, end: int) -> None:
        if begin <= 2 < end:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        crew.run(part, 6)


def test_a_forked_child_starts_threads_of_its_own() -> None:
    crew = Crew()
    crew.resize(2)
    crew.run(lambda _begin, _end: None, 2)
    child = os.fork()
    if child == 0:
        crew.forget()
        both = threading.Barrier(2, timeout=10)
        try:
            crew.run(lambda _begin, _end: both.wait(), 2)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
