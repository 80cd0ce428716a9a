import time
from typing import Any

import numpy as np
import zmq

from qallow_agent.base.ids import LeaseId
from qallow_agent.jobs.local import CanaryDone, RunCanary, RunnerTally
from qallow_agent.jobs.manifest import unpack
from qallow_agent.jobs.parcels import ArrayHead, ResultParcel, TaskHead


def test_a_task_comes_back_with_its_result(dial: Any) -> None:
    submitter = dial("echo")
    submitter.post(7, value=2.5)
    frames = submitter.message()
    parcel = unpack(frames)
    assert isinstance(parcel, ResultParcel)
    assert [(item.number, item.attempt, item.fault) for item in parcel.results] == [(7, 1, None)]
    assert parcel.results[0].arrays == (ArrayHead("value", "f4", ()),)
    assert frames[1] == np.float32(2.5).tobytes() + bytes(12)


def test_a_sweep_gets_one_value_a_point(dial: Any) -> None:
    submitter = dial("echo")
    values = np.arange(100, dtype="<f4")
    task = TaskHead(0, 1, 100, {}, (ArrayHead("value", "f4", (100,)),))
    submitter.send(task, frames=(values.tobytes(),))
    (frame,) = submitter.arrays()
    assert np.array_equal(np.frombuffer(frame, "<f4"), values)


def test_a_parcel_of_many_tasks_is_answered_in_few(dial: Any) -> None:
    submitter = dial("echo", tasks=500)
    submitter.send(*(TaskHead(number, 1, 1, {}) for number in range(500)))
    answers, count = 0, 0
    while count < 500:
        parcel = submitter.hear()
        assert isinstance(parcel, ResultParcel)
        answers, count = answers + 1, count + len(parcel.results)
    assert answers < 100


def test_finished_tasks_do_not_wait_for_slow_ones_of_their_parcel(dial: Any) -> None:
    submitter = dial("sleeps")
    submitter.send(TaskHead(0, 1, 1, {"seconds": 0.05}), TaskHead(1, 1, 1, {"seconds": 600.0}))
    assert list(submitter.results(1)) == [0]


def test_arrays_travel_as_frames_both_ways(dial: Any) -> None:
    submitter = dial("mirror")
    data = np.random.default_rng(1).random(1 << 20).astype("<f4")
    submitter.post(0, frames=(data.tobytes(),))
    (frame,) = submitter.arrays()
    assert frame == data.tobytes()


def test_a_ping_is_answered(dial: Any) -> None:
    assert dial("echo").alive()


def test_a_runner_tells_what_it_did(dial: Any, world: Any) -> None:
    submitter = dial("echo")
    submitter.send(*(TaskHead(number, 1, 1, {}) for number in range(5)))
    submitter.results(5)
    tally = world.await_news(RunnerTally, submitter.runner)
    assert (tally.kernel, tally.tasks, tally.points, tally.ops) == ("echo", 5, 5, 10.0)
    assert tally.busy_s > 0


def test_an_idle_runner_says_nothing(dial: Any, world: Any) -> None:
    submitter = dial("echo")
    submitter.post(0)
    submitter.results(1)
    world.await_news(RunnerTally, submitter.runner)
    heard = len(world.news)
    end_s = time.monotonic() + 1.2
    world.pump(lambda: time.monotonic() > end_s)
    assert world.news[heard:] == []


def test_a_canary_sings_or_says_why_not(dial: Any, world: Any) -> None:
    submitter = dial("echo")
    sender = f"@runner/{submitter.runner}"
    for kernel in ("echo", "lies", "raises", "no-such-kernel"):
        world.yard.tell(sender, RunCanary(kernel))
    world.pump(lambda: len(world.heard(CanaryDone, submitter.runner)) == 4)
    echo, lies, raises, unknown = world.heard(CanaryDone, submitter.runner)
    assert echo.passed
    assert echo.rate > 0
    assert not any(item.passed for item in (lies, raises, unknown))
    assert "lies" in lies.why
    assert "no luck" in raises.why
    assert "no-such-kernel" in unknown.why


def test_siblings_have_keys_and_ports_of_their_own(world: Any) -> None:
    runners = [world.start() for _ in range(3)]
    ready = [item for _, item in runners]
    assert len({item.curve_key for item in ready}) == 3
    assert len({item.port for item in ready}) == 3
    assert len({item.pid for item in ready}) == 3
    for runner, _ in runners:
        world.yard.stop(runner)
    world.pump(lambda: not world.yard.runners())


def test_two_leases_share_a_runner(dial: Any, world: Any) -> None:
    first = dial("echo")
    second = type(first)(world, first.runner, first.ready)
    second.lease = "lease-two"
    second.allow("weigh")
    second.dial()
    data = np.ones(10, "<f4")
    second.post(1, frames=(data.tobytes(),))
    first.post(2)
    assert list(second.results(1)) == [1]
    assert list(first.results(1)) == [2]
    second.close()


def test_runners_keep_to_the_ports_they_are_given(make_world: Any) -> None:
    holder = zmq.Context()
    busy = holder.socket(zmq.ROUTER)
    first = busy.bind_to_random_port("tcp://127.0.0.1")
    world = make_world(port_first=first, port_last=first + 40)
    runner, ready = world.start()
    assert first < ready.port <= first + 40
    world.yard.stop(runner)
    busy.close()
    holder.term()


def test_a_runner_is_ready_soon_after_the_first(world: Any) -> None:
    world.start()
    began_s = time.monotonic()
    world.start()
    assert time.monotonic() - began_s < 10
    for runner in world.yard.runners():
        world.yard.stop(runner)
    world.pump(lambda: not world.yard.runners())


def test_a_submitter_that_vanishes_leaves_the_runner_to_the_next_one(dial: Any, world: Any) -> None:
    first = dial("sleeps")
    for number in range(3):
        first.send(TaskHead(number, 1, 1, {"seconds": 0.2}))
    world.await_busy(first.runner, 0)
    first.socket.close()
    second = type(first)(world, first.runner, first.ready)
    second.lease = LeaseId("lease-of-the-second")
    second.allow("sleeps")
    second.dial()
    second.send(TaskHead(9, 1, 1, {"seconds": 0.0}))
    assert list(second.results(1)) == [9]
    second.close()


def test_a_runner_uses_as_many_threads_as_it_was_given(make_world: Any) -> None:
    for threads, seen in ((0, 1), (3, 3)):
        submitter = make_world(threads=threads).submitter("counts-its-threads")
        submitter.post(0)
        (frame,) = submitter.arrays()
        assert np.frombuffer(frame, "<f4") == seen
        submitter.close()
