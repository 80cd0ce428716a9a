import logging
import os
import time
from typing import Any

import psutil
import pytest

from qallow_agent.jobs.local import RunCanary, RunnerBusy, RunnerExited
from qallow_agent.jobs.parcels import TaskHead


def fault_of(submitter: Any, **scalars: Any) -> Any:
    submitter.post(0, **scalars)
    return submitter.results(1)[0].fault


def test_a_kernel_that_raises_fails_its_task_with_the_traceback(dial: Any) -> None:
    submitter = dial("raises")
    fault = fault_of(submitter)
    assert fault.code == "kernel-failed"
    assert "RuntimeError: no luck with 1 points \\udcff" in fault.message
    assert "in raises" in fault.traceback
    assert submitter.alive()


def test_a_kernel_that_exits_by_exception_fails_only_its_task(dial: Any) -> None:
    submitter = dial("leaves")
    fault = fault_of(submitter)
    assert (fault.code, "SystemExit" in fault.message) == ("kernel-failed", True)
    assert submitter.alive()


def test_a_runner_whose_device_failed_answers_and_makes_room_for_another(
    dial: Any, world: Any
) -> None:
    submitter = dial("loses-its-device")
    fault = fault_of(submitter)
    assert (fault.code, "board failed" in fault.message) == ("device-lost", True)
    assert world.await_exit(submitter.runner).reason == "exited with status 74"


def test_a_kernel_whose_outputs_contradict_its_spec_fails(dial: Any) -> None:
    submitter = dial("lies")
    assert fault_of(submitter).code == "kernel-failed"
    assert submitter.alive()


def test_a_bad_parameter_is_named(dial: Any) -> None:
    submitter = dial("echo")
    fault = fault_of(submitter, valeu=1.0)
    assert (fault.code, fault.traceback) == ("bad-parameter", "")
    assert "valeu" in fault.message
    assert "value" in fault.hint


def test_an_unknown_kernel_is_named(dial: Any) -> None:
    fault = fault_of(dial("ecko"))
    assert (fault.code, "echo" in fault.hint) == ("unknown-kernel", True)


def test_a_kernel_that_segfaults_is_named_with_its_task(dial: Any, world: Any) -> None:
    submitter = dial("crashes")
    submitter.post(41)
    exited = world.await_exit(submitter.runner)
    assert exited.reason == "killed by SIGSEGV while running task 41"
    assert (exited.lease, exited.task, exited.attempt) == (submitter.lease, 41, 1)


def test_a_kernel_that_quits_its_process_is_named(dial: Any, world: Any) -> None:
    submitter = dial("quits")
    submitter.post(5)
    exited = world.await_exit(submitter.runner)
    assert (exited.reason, exited.task) == ("exited with status 3 while running task 5", 5)


def test_a_kernel_that_never_ends_is_seen_and_can_be_killed(dial: Any, world: Any) -> None:
    submitter = dial("hangs")
    submitter.post(9)
    world.pump(
        lambda: any(busy.elapsed_s > 0.3 for busy in world.heard(RunnerBusy, submitter.runner))
    )
    world.yard.stop(submitter.runner, kill=True)
    exited = world.await_exit(submitter.runner)
    assert (exited.reason, exited.task) == ("killed: as asked while running task 9", 9)


def test_a_kernel_that_never_ends_does_not_keep_new_submitters_out(dial: Any, world: Any) -> None:
    first = dial("hangs")
    first.post(1)
    world.await_busy(first.runner, 1)
    second = type(first)(world, first.runner, first.ready)
    second.lease = "lease-two"
    second.allow("echo")
    monitor = second.socket.get_monitor_socket()
    second.dial()
    events = []
    end_s = time.monotonic() + 10
    while 0x1000 not in events and time.monotonic() < end_s:
        if monitor.poll(50):
            events.append(int.from_bytes(monitor.recv_multipart()[0][:2], "little"))
    second.socket.disable_monitor()
    monitor.close()
    second.close()
    assert 0x1000 in events, "the CURVE handshake succeeds while the kernel runs"


def test_a_kernel_that_never_ends_is_killed_after_the_grace_of_a_polite_stop(
    dial: Any, world: Any
) -> None:
    submitter = dial("hangs")
    submitter.post(2)
    world.await_busy(submitter.runner, 2)
    world.yard.stop(submitter.runner)
    exited = world.await_exit(submitter.runner)
    assert exited.task == 2
    assert "did not stop within 2 s" in exited.reason or "status 75" in exited.reason


def test_a_polite_stop_waits_for_the_task_at_hand_and_hands_back_the_rest(
    dial: Any, world: Any
) -> None:
    submitter = dial("sleeps")
    submitter.post(1, seconds=0.5)
    submitter.post(2, seconds=600.0)
    world.await_busy(submitter.runner, 1)
    world.yard.stop(submitter.runner)
    assert submitter.results(1)[1].fault is None
    assert world.await_exit(submitter.runner) == RunnerExited("stopped")


def test_a_kernel_that_eats_memory_fails_only_its_task(dial: Any) -> None:
    submitter = dial("eats")
    fault = fault_of(submitter)
    assert fault.code == "device-memory"
    assert fault.hint
    assert submitter.alive()
    assert psutil.Process(submitter.ready.pid).memory_info().rss < 2 << 30


def test_a_kernel_that_fills_the_disk_fails_only_its_task(dial: Any) -> None:
    submitter = dial("fills")
    fault = fault_of(submitter)
    assert "File too large" in fault.message
    assert submitter.alive()


def test_what_a_kernel_prints_goes_to_the_log_and_not_to_stdout(
    dial: Any, world: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    submitter = dial("prints")
    caplog.set_level(logging.INFO, logger="qallow_agent.runner")
    submitter.post(0)
    submitter.results(1)
    world.pump(lambda: "and to stderr" in caplog.messages)
    assert {"line 0", "line 1", "line 2", "and from C"} <= set(caplog.messages)
    assert {record.facts["runner"] for record in caplog.records} == {submitter.runner}
    assert capfd.readouterr() == ("", "")


def test_a_kernel_that_prints_without_end_is_cut_short(
    dial: Any, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    submitter = dial("prints")
    caplog.set_level(logging.INFO, logger="qallow_agent.runner")
    submitter.post(0, lines=30_000)
    submitter.results(1)
    world.pump(lambda: any("were not logged" in message for message in caplog.messages))
    assert len(caplog.messages) < 200


def test_a_kernel_that_forks_answers_once(dial: Any, world: Any) -> None:
    submitter = dial("forks")
    submitter.send(*(TaskHead(number, 1, 1, {}) for number in range(20)))
    results = submitter.results(20)
    assert all(result.fault is None for result in results.values())
    assert submitter.silent()
    assert submitter.alive()
    assert not world.heard(RunnerExited, submitter.runner)


@pytest.mark.parametrize("how", [{}, {"kill": True}])
def test_what_a_kernel_leaves_behind_dies_with_its_runner(
    dial: Any, world: Any, how: dict[str, bool]
) -> None:
    submitter = dial("leaves-children")
    submitter.post(0)
    frames = submitter.arrays()
    children = [int.from_bytes(frame, "little") for frame in frames]
    assert len(children) == 2
    assert all(psutil.pid_exists(pid) for pid in children)
    world.yard.stop(submitter.runner, **how)
    world.await_exit(submitter.runner)
    world.pump(lambda: not any(running(pid) for pid in children))


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_runner_that_dies_takes_no_sibling_along(dial: Any, world: Any) -> None:
    victim, sibling = dial("crashes"), dial("echo")
    victim.post(0)
    world.await_exit(victim.runner)
    assert sibling.alive()


def test_a_runner_killed_from_outside_says_so(dial: Any, world: Any) -> None:
    submitter = dial("echo")
    os.kill(submitter.ready.pid, 9)
    assert world.await_exit(submitter.runner) == RunnerExited("killed by SIGKILL")


def test_a_canary_that_crashes_names_its_kernel_and_blames_no_task(dial: Any, world: Any) -> None:
    submitter = dial("echo")
    world.yard.tell(f"@runner/{submitter.runner}", RunCanary("crashes"))
    exited = world.await_exit(submitter.runner)
    assert exited == RunnerExited("killed by SIGSEGV during the canary of crashes")


def test_a_canary_that_never_ends_is_killed(make_world: Any) -> None:
    world = make_world(canary_s=0.3, busy_s=0.05)
    runner, _ = world.start()
    world.yard.tell(f"@runner/{runner}", RunCanary("hangs"))
    exited = world.await_exit(runner)
    assert exited.reason == "killed: no answer within 0.3 s during the canary of hangs"


def test_a_runner_that_uses_up_its_cpu_seconds_is_killed(make_world: Any) -> None:
    world = make_world(cpu_s=1)
    submitter = world.submitter("hangs")
    submitter.post(3)
    exited = world.await_exit(submitter.runner)
    assert exited.task == 3
    assert "SIGXCPU" in exited.reason
    submitter.close()
