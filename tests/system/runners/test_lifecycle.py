import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from qallow_agent.base.ids import RunnerId
from qallow_agent.jobs.local import Forbid, RunnerExited, RunnerReady
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.runtime.fences import Ground, tenant
from qallow_agent.runtime.nursery_link import prepare_cache
from qallow_agent.runtime.orders import Preload, order_codec
from qallow_agent.runtime.settings import RunnerSettings

AGENT = Path(__file__).with_name("agent_process.py")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids: Iterable[int], within_s: float = 10.0) -> bool:
    end_s = time.monotonic() + within_s
    while any(alive(pid) for pid in pids) and time.monotonic() < end_s:
        time.sleep(0.01)
    return not any(alive(pid) for pid in pids)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[Any, list[int]]]:
    process = subprocess.Popen(
        [sys.executable, str(AGENT), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    family = [int(pid) for pid in process.stdout.readline().split()]
    assert len(family) == 3, "the nursery and two runners"
    yield process, family
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone(family)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_runners_and_nursery_die_with_the_agent(agent: Any, number: int) -> None:
    process, family = agent
    process.send_signal(number)
    process.wait()
    assert gone(family)


def test_runners_and_nursery_die_with_an_agent_while_it_is_stopped(agent: Any) -> None:
    process, family = agent
    process.send_signal(signal.SIGSTOP)
    process.kill()
    process.wait()
    assert gone(family)


def test_a_stopped_nursery_does_not_outlive_the_agent(agent: Any) -> None:
    process, (nursery, *_) = agent
    os.kill(nursery, signal.SIGSTOP)
    process.kill()
    process.wait()
    os.kill(nursery, signal.SIGCONT)
    assert gone([nursery])


def test_a_nursery_that_still_imports_dies_with_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(AGENT.parents[2] / "plugins"))
    process = subprocess.Popen(
        [sys.executable, str(AGENT), str(tmp_path), "hangs_at_import:KERNEL"],
        stdout=subprocess.PIPE,
        text=True,
    )
    nursery = int(process.stdout.readline())
    time.sleep(1.0)
    assert alive(nursery)
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone([nursery])


def test_a_stuck_nursery_is_ended_when_it_does_not_kill(make_world: Any) -> None:
    world = make_world()
    runner, ready = world.start()
    os.kill(psutil.Process(ready.pid).ppid(), signal.SIGSTOP)
    world.yard.stop(runner, kill=True)
    assert world.await_exit(runner).reason == "the nursery does not reap"
    assert gone([ready.pid])


def test_others_may_not_write_the_cache_of_compiled_kernels(
    make_world: Any, tmp_path: Path
) -> None:
    cache_dir = str(tmp_path / "cache")
    Path(prepare_cache(cache_dir, tenant(RunnerSettings()))).chmod(0o777)
    world = make_world(cache_dir=cache_dir)
    world.yard.start(RunnerId("a"), "cpu0", "cpu")
    assert "others may write" in world.await_exit(RunnerId("a")).reason


def test_runners_die_with_the_nursery_and_the_agent_hears_why(make_world: Any) -> None:
    world = make_world()
    runner, ready = world.start()
    other, _ = world.start()
    os.kill(psutil.Process(ready.pid).ppid(), signal.SIGKILL)
    for name in (runner, other):
        assert world.await_exit(name).reason == "the nursery ended (killed by SIGKILL)"
    assert gone([ready.pid])
    assert [notice.event for notice in world.notices] == ["nursery.lost"]
    world.start()


def test_an_idle_nursery_is_retired_and_comes_back(make_world: Any) -> None:
    world = make_world(nursery_idle_s=0.2)
    assert world.yard.family() == ()
    runner, ready = world.start()
    nursery = psutil.Process(ready.pid).ppid()
    assert world.yard.family() == (nursery, ready.pid)
    world.yard.stop(runner)
    assert world.await_exit(runner) == RunnerExited("stopped")
    world.pump(lambda: world.yard.family() == ())
    assert not alive(nursery)
    assert world.yard.next_deadline() is None
    _, again = world.start()
    assert psutil.Process(again.pid).ppid() != nursery
    assert not world.notices


def test_a_runner_stopped_before_it_is_forked_exits_in_order(make_world: Any) -> None:
    world = make_world()
    world.yard.start(RunnerId("early"), "cpu0", "cpu")
    world.yard.stop(RunnerId("early"))
    assert world.await_exit(RunnerId("early")) == RunnerExited("stopped")
    world.start()
    assert not world.heard(RunnerReady, RunnerId("early"))


def test_starting_twice_starts_once(make_world: Any) -> None:
    world = make_world()
    runner, _ = world.start()
    world.yard.start(runner, "cpu0", "cpu")
    world.start()
    assert len(world.heard(RunnerReady, runner)) == 1


def test_what_is_said_to_nobody_is_dropped(make_world: Any) -> None:
    world = make_world()
    world.yard.stop(RunnerId("nobody"))
    world.yard.tell("@runner/nobody", Forbid("lease"))
    assert world.yard.drain() == []
    assert world.yard.busy() == []


def test_closing_the_yard_ends_everything_at_once(make_world: Any) -> None:
    world = make_world()
    submitter = world.submitter("hangs")
    submitter.post(1)
    world.await_busy(submitter.runner, 1)
    family = world.yard.family()
    world.yard.close()
    assert gone(family)
    submitter.close()


def test_a_plug_in_that_does_not_import_is_reported_and_skipped(
    make_world: Any, plugins: tuple[str, ...]
) -> None:
    world = make_world(modules=("no_such_module:KERNEL", *plugins))
    world.start()
    assert [notice.event for notice in world.notices] == ["kernels.skipped"]
    assert "no_such_module" in str(world.notices[0].facts["why"])


def test_a_plug_in_that_crashes_at_import_is_explained_and_not_tried_in_a_storm(
    make_world: Any,
) -> None:
    world = make_world(modules=("crashes_at_import:KERNEL",))
    world.yard.start(RunnerId("a"), "cpu0", "cpu")
    assert world.await_exit(RunnerId("a")).reason == "the nursery ended (killed by SIGSEGV)"
    world.yard.start(RunnerId("b"), "cpu0", "cpu")
    assert "next try in" in world.await_exit(RunnerId("b")).reason
    assert world.notices[0].event == "nursery.lost"


def test_a_plug_in_that_hangs_at_import_is_killed(make_world: Any) -> None:
    world = make_world(modules=("hangs_at_import:KERNEL",), nursery_start_s=1.0)
    world.yard.start(RunnerId("a"), "cpu0", "cpu")
    assert world.await_exit(RunnerId("a")).reason == "the nursery was not ready within 1 s"
    assert world.yard.family() == ()


def test_a_runner_without_a_free_port_says_so(make_world: Any) -> None:
    context = zmq.Context()
    holder = context.socket(zmq.ROUTER)
    port = holder.bind_to_random_port("tcp://127.0.0.1")
    world = make_world(port_first=port, port_last=port)
    world.yard.start(RunnerId("a"), "cpu0", "cpu")
    assert world.await_exit(RunnerId("a")).reason == "exited with status 70"
    holder.close()
    context.term()


def test_a_stopped_runner_is_killed_when_its_grace_is_over(make_world: Any) -> None:
    world = make_world(stop_s=0.3)
    runner, ready = world.start()
    os.kill(ready.pid, signal.SIGSTOP)
    world.yard.stop(runner)
    assert world.await_exit(runner).reason == "killed: it did not stop within 0.3 s"


def test_a_runner_that_reads_no_messages_is_killed(make_world: Any) -> None:
    world = make_world()
    runner, ready = world.start()
    os.kill(ready.pid, signal.SIGSTOP)
    for number in range(3000):
        world.yard.tell(f"@runner/{runner}", Forbid(f"lease-{number}"))
    assert world.await_exit(runner).reason == "killed: it reads no messages"


def test_a_runner_works_in_a_folder_of_its_own_that_goes_with_it(make_world: Any) -> None:
    world = make_world()
    submitter = world.submitter("litters")
    folder = Path(f"/proc/{submitter.ready.pid}/cwd").readlink()
    assert folder.stat().st_mode & 0o777 == 0o700
    submitter.post(0)
    assert submitter.results(1)[0].fault is None
    assert list(folder.iterdir())
    world.yard.stop(submitter.runner)
    world.await_exit(submitter.runner)
    world.pump(lambda: not folder.exists())
    world.yard.close()
    assert not folder.parent.exists()
    submitter.close()


def test_a_runner_is_confined(make_world: Any) -> None:
    world = make_world(memory_bytes=1 << 30, file_bytes=1 << 25, open_files=200, niceness=7)
    _, ready = world.start()
    limits = Path(f"/proc/{ready.pid}/limits").read_text()
    values = {line[:26].strip(): line[26:46].strip() for line in limits.splitlines()}
    assert values["Max core file size"] == "0"
    assert values["Max file size"] == str(1 << 25)
    assert values["Max open files"] == "200"
    assert 1 << 30 < int(values["Max address space"]) < 8 << 30
    status = Path(f"/proc/{ready.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert psutil.Process(ready.pid).nice() >= 7
    assert Path(f"/proc/{ready.pid}/oom_score_adj").read_text().strip() == "500"
    assert os.getsid(ready.pid) == ready.pid


def test_a_nursery_whose_agent_ends_while_it_compiles_goes_quietly() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nursery = subprocess.Popen(
        [sys.executable, "-m", "qallow_agent.runtime.nursery", str(theirs.fileno()),
         str(os.getpid())],
        pass_fds=(theirs.fileno(),),
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    theirs.close()
    nothing = KernelSettings(disabled=("elasticity", "harmonic"))
    ours.send(order_codec().encode(Preload(nothing, RunnerSettings(), Ground())))
    ours.close()
    _, said = nursery.communicate(timeout=15)
    assert (nursery.returncode, said) == (0, "")
