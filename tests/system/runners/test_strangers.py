import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from qallow_agent.jobs.local import Forbid, RunnerExited, RunnerRests
from qallow_agent.jobs.parcels import (
    ArrayHead,
    LeaseUnknown,
    Ping,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
)


def echo_task(number: int, points: Any = 1) -> TaskHead:
    return TaskHead(number, 1, points, {})


def test_a_stranger_who_knows_the_runners_key_is_refused(dial: Any, world: Any) -> None:
    guest = dial("echo")
    stranger = type(guest)(world, guest.runner, guest.ready)
    stranger.dial()
    stranger.post(0)
    assert stranger.silent(1.0)
    assert guest.alive()
    stranger.close()


@pytest.mark.parametrize("keys", [0, 1])
def test_a_client_without_curve_or_with_a_wrong_server_key_gets_nothing(
    dial: Any, keys: int
) -> None:
    guest = dial("echo")
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    if keys:
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = z85.encode(os.urandom(32))
    socket.connect(f"tcp://127.0.0.1:{guest.ready.port}")
    socket.send(pack(Ping(guest.lease)))
    assert not socket.poll(500)
    assert guest.alive()
    socket.close()
    context.term()


def test_a_submitter_cannot_use_the_lease_of_another(dial: Any, world: Any) -> None:
    guest = dial("echo")
    thief = type(guest)(world, guest.runner, guest.ready)
    thief.lease = "lease-of-thief"
    thief.allow("weigh")
    thief.dial()
    thief.lease = guest.lease
    thief.post(0)
    assert thief.hear() == LeaseUnknown(guest.lease)
    thief.close()


def test_an_unknown_lease_is_answered_as_such(dial: Any) -> None:
    submitter = dial("echo")
    submitter.lease = "lease-never-granted"
    submitter.post(0)
    assert submitter.hear() == LeaseUnknown("lease-never-granted")


def test_an_expired_lease_is_answered_as_such(dial: Any) -> None:
    submitter = dial("echo", ttl_s=0.5)
    assert submitter.alive()
    time.sleep(0.6)
    submitter.post(1)
    assert submitter.hear() == LeaseUnknown(submitter.lease)


def test_a_renewed_lease_lives_on(dial: Any) -> None:
    submitter = dial("echo", ttl_s=0.5)
    assert submitter.alive()
    submitter.allow("echo", ttl_s=60.0)
    time.sleep(0.6)
    assert submitter.alive()


def test_a_forbidden_lease_ends_at_once_and_its_key_is_refused(dial: Any, world: Any) -> None:
    submitter = dial("echo")
    assert submitter.alive()
    world.yard.tell(f"@runner/{submitter.runner}", Forbid(submitter.lease))
    answer = Ping(submitter.lease)
    while isinstance(answer, Ping):
        submitter.socket.send(pack(Ping(submitter.lease)))
        answer = submitter.hear()
    assert answer == LeaseUnknown(submitter.lease)
    submitter.socket.close()
    submitter.socket = submitter.context.socket(zmq.DEALER)
    submitter.dial()
    submitter.socket.send(pack(Ping(submitter.lease)))
    assert submitter.silent(0.5)


def test_a_forbidden_lease_drops_its_queued_tasks(dial: Any, world: Any) -> None:
    submitter = dial("sleeps")
    submitter.post(1, seconds=0.5)
    submitter.post(2, seconds=600.0)
    world.await_busy(submitter.runner, 1)
    world.yard.tell(f"@runner/{submitter.runner}", Forbid(submitter.lease))
    parcel = submitter.hear()
    assert isinstance(parcel, ResultParcel)
    assert [result.number for result in parcel.results] == [1]
    assert submitter.hear() == LeaseUnknown(submitter.lease)


def test_a_runner_is_seen_at_rest_once_the_task_of_its_ended_lease_is_over(
    dial: Any, world: Any
) -> None:
    submitter = dial("sleeps")
    submitter.post(1, seconds=0.5)
    world.await_busy(submitter.runner, 1)
    world.yard.tell(f"@runner/{submitter.runner}", Forbid(submitter.lease))
    world.await_news(RunnerRests, submitter.runner, within_s=10.0)
    assert [result.number for result in submitter.hear().results] == [1]


def test_more_tasks_than_credits_are_dropped(dial: Any) -> None:
    submitter = dial("echo", tasks=10)
    submitter.send(*(echo_task(number) for number in range(11)))
    submitter.send(*(echo_task(number) for number in range(10)))
    assert sorted(submitter.results(10)) == list(range(10))
    assert submitter.silent()


def test_a_flood_beyond_the_credits_is_dropped_while_a_task_runs(dial: Any, world: Any) -> None:
    submitter = dial("sleeps", tasks=5)
    submitter.post(0, seconds=0.5)
    world.await_busy(submitter.runner, 0)
    for number in range(1, 101):
        submitter.post(number, seconds=0.0)
    assert sorted(submitter.results(6)) == [0, 1, 2, 3, 4, 5]
    assert submitter.silent()
    assert submitter.alive()


def junk(raw: Callable[[Any], bytes]) -> Iterator[tuple[str, list[bytes]]]:
    good = pack(TaskParcel("lease", (echo_task(0),)))
    array = TaskHead(0, 1, 1, {}, (), (ArrayHead("data", "f4", (4,)),))
    yield "truncated", [good[:-3]]
    yield "trailing", [good + b"\x00"]
    yield "empty", [b""]
    yield "missing frame", [pack(TaskParcel("lease", (array,)))]
    yield "extra frame", [good, b"1234"]
    yield "short frame", [pack(TaskParcel("lease", (array,))), b"1234"]
    yield (
        "object dtype",
        [
            pack(TaskParcel("lease", (TaskHead(0, 1, 1, {}, (), (ArrayHead("a", "O8", (1,)),)),))),
            b"12345678",
        ],
    )
    yield (
        "negative shape",
        [
            pack(TaskParcel("lease", (TaskHead(0, 1, 1, {}, (), (ArrayHead("a", "f4", (-1,)),)),))),
            b"1234",
        ],
    )
    yield "deep", [b"\x91" * 100_000]
    yield "bad text", [raw({"type": "tasks", "lease": "x"}).replace(b"x", b"\xff")]
    yield "huge header", [b"\x00" * (5 << 20)]
    yield "many frames", [good, *[b""] * 70_000]
    yield "result parcel", [pack(ResultParcel("lease", ()))]
    rng = random.Random(1)
    for length in (1, 10, 1000):
        yield f"random {length}", [rng.randbytes(length)]


def test_broken_parcels_are_dropped_and_the_runner_serves_on(
    dial: Any, raw: Callable[[Any], bytes], world: Any
) -> None:
    submitter = dial("echo")
    for name, frames in junk(raw):
        submitter.socket.send_multipart(frames)
        assert submitter.alive(), name
    assert not world.heard(RunnerExited, submitter.runner)


def test_wild_numbers_and_values_end_in_a_fault_or_nothing(dial: Any) -> None:
    submitter = dial("echo")
    for number in (-1, 2**63 - 1, 2**64 - 1):
        submitter.send(TaskHead(number, 1, 1, {}))
    for scalars in (
        {"value": [[1]]},
        {"value": {"a": 1}},
        {"value": None},
        {"": 1},
        {"value": "x"},
    ):
        submitter.send(TaskHead(1, 1, 1, scalars))
    codes = []
    while len(codes) < 5:
        parcel = submitter.hear()
        if isinstance(parcel, ResultParcel):
            codes += [result.fault.code for result in parcel.results if result.fault]
    assert codes == ["bad-parameter"] * 5
    assert submitter.alive()


def test_a_frame_larger_than_the_runner_may_take_never_reaches_it(dial: Any, world: Any) -> None:
    submitter = dial("weigh")
    assert submitter.alive()
    size = (1 << 30) // 4 + 4
    task = TaskHead(1, 1, 1, {}, (), (ArrayHead("data", "f4", (size // 4,)),))
    submitter.send(task, frames=(bytes(size),))
    assert submitter.silent(1.0)
    assert not world.heard(RunnerExited, submitter.runner)


def test_a_submitter_that_vanishes_leaves_the_runner_free_for_others(dial: Any, world: Any) -> None:
    guest = dial("sleeps")
    ghost = type(guest)(world, guest.runner, guest.ready)
    ghost.lease = "lease-of-ghost"
    ghost.allow("sleeps")
    ghost.dial()
    ghost.send(*(TaskHead(number, 1, 1, {"seconds": 0.3}) for number in range(50)))
    world.await_busy(ghost.runner, 0)
    ghost.close()
    assert guest.alive()


def test_no_secret_of_the_agent_reaches_a_kernel(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2")
    world = make_world()
    submitter = world.submitter("spies")
    submitter.post(0)
    (frame,) = submitter.arrays()
    assert frame == bytes(4)
    opened = Path(f"/proc/{submitter.ready.pid}/fd").iterdir()
    paths = [str(descriptor.readlink()) for descriptor in opened]
    assert not [path for path in paths if path.startswith("/") and not known(path)], paths
    submitter.close()


def known(path: str) -> bool:
    return path.startswith(("/dev/null", "/dev/urandom", "/memfd:"))
