import os
import threading

import pytest

from qallow_agent.kernels.threads import Crew


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_every_part_runs_once(threads: int, count: int) -> None:
    crew, seen = Crew(), []
    crew.resize(threads)
    crew.run(seen.append, count)
    assert sorted(seen) == list(range(count))


def test_two_threads_work_at_a_time() -> None:
    crew, both = Crew(), threading.Barrier(2, timeout=10)
    crew.resize(2)
    crew.run(lambda _part: both.wait(), 2)


def test_one_thread_starts_no_other() -> None:
    crew, ran = Crew(), []
    crew.run(lambda _part: ran.append(threading.current_thread()), 5)
    assert set(ran) == {threading.current_thread()}


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_part_raises_comes_out(threads: int) -> None:
    crew = Crew()
    crew.resize(threads)

    def part(number: int) -> None:
        if number == 2:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        crew.run(part, 6)


def test_a_forked_child_starts_threads_of_its_own() -> None:
    crew = Crew()
    crew.resize(2)
    crew.run(lambda _part: None, 2)
    child = os.fork()
    if child == 0:
        crew.forget()
        both = threading.Barrier(2, timeout=10)
        try:
            crew.run(lambda _part: both.wait(), 2)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
