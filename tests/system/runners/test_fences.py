import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.runtime import landlock, seccomp
from qallow_agent.runtime.control import ControlServer
from qallow_agent.runtime.limits import close_memory

HERE = Path(__file__).parent
NOBODY = 65_534
DONE, REFUSED = 1.0, 0.0

has_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
has_signal_scope = pytest.mark.skipif(
    landlock.version() < landlock.SCOPE_VERSION, reason="this kernel's Landlock scopes no signals"
)
has_seccomp = pytest.mark.skipif(not seccomp.available(), reason="this kernel filters no calls")
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a state directory as an agent has it: a key, and a socket that this process serves."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "node.key").write_text("00" * 32)
    (folder / "node.key").chmod(0o600)
    server = ControlServer(folder / "agent.sock")
    server.open()
    yield folder
    server.close()


@pytest.fixture(scope="module")
def prison(make_world: Callable[..., Any], prying: tuple[str, ...], state_dir: Path) -> Any:
    return make_world(modules=prying, secrets=(str(state_dir),))


@pytest.fixture(scope="module")
def attempt(prison: Any) -> Iterator[Callable[..., float]]:
    """Return a way to have a kernel try something in a runner that all tests share."""
    submitters: dict[str, Any] = {}
    runner, ready = prison.start()

    def run(kernel: str, path: object = None, **scalars: Any) -> float:
        if kernel not in submitters:
            submitters[kernel] = type_of_submitter(prison)(prison, runner, ready)
            submitters[kernel].allow(kernel, lease=f"lease-{kernel}")
            submitters[kernel].lease = f"lease-{kernel}"
            submitters[kernel].dial()
        codes = () if path is None else tuple(os.fsencode(str(path)))
        frames = (struct.pack(f"={len(codes)}f", *codes),) if codes else ()
        submitters[kernel].post(0, frames, **scalars)
        [answer] = submitters[kernel].arrays()
        return float(struct.unpack("=f", answer)[0])

    yield run
    for submitter in submitters.values():
        submitter.close()


def type_of_submitter(prison: Any) -> Any:
    submitter = prison.submitter("needs")
    submitter.close()
    return type(submitter)


def test_honest_kernels_get_what_they_need(attempt: Callable[..., float]) -> None:
    assert attempt("needs") == DONE
    assert attempt("reads", "/etc/passwd") == DONE
    assert attempt("reads", "/proc/self/maps") == DONE


def test_every_fence_is_told_with_its_fix(prison: Any, attempt: Callable[..., float]) -> None:
    assert attempt("needs") == DONE
    told = {notice.facts["fence"]: notice for notice in prison.fences}
    assert {"files", "calls"} <= told.keys()
    for notice in told.values():
        assert notice.level == "info" or notice.facts["fix"]


@has_landlock
def test_the_agents_keys_cannot_be_read_by_a_kernel(
    attempt: Callable[..., float], state_dir: Path
) -> None:
    assert (state_dir / "node.key").read_text(), "the test itself can read it"
    assert attempt("reads", state_dir / "node.key") == REFUSED
    assert attempt("lists", state_dir) == REFUSED
    assert attempt("writes", state_dir / "planted") == REFUSED


@has_landlock
@pytest.mark.parametrize("path", ["/etc/shadow", "/etc", "/root", "/var", tempfile.gettempdir()])
def test_what_is_not_the_systems_or_pythons_cannot_be_read(
    attempt: Callable[..., float], path: str
) -> None:
    assert attempt("lists" if Path(path).is_dir() else "reads", path) == REFUSED


@pytest.mark.parametrize("name", ["mem", "environ", "maps"])
def test_the_agents_memory_cannot_be_read_by_a_kernel(
    attempt: Callable[..., float], prison: Any, name: str
) -> None:
    assert attempt("reads", f"/proc/{os.getpid()}/{name}") == REFUSED
    assert attempt("reads", f"/proc/{prison.yard.family()[0]}/{name}") == REFUSED


def test_open_files_of_the_agent_cannot_be_opened_by_a_kernel(
    attempt: Callable[..., float], state_dir: Path
) -> None:
    with (state_dir / "node.key").open() as file:
        assert attempt("reads", f"/proc/{os.getpid()}/fd/{file.fileno()}") == REFUSED


@has_seccomp
def test_the_control_socket_cannot_be_reached_by_a_kernel(
    attempt: Callable[..., float], state_dir: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ours:
        ours.connect(str(state_dir / "agent.sock"))
    assert attempt("connects", state_dir / "agent.sock") == REFUSED


@has_seccomp
def test_kernels_have_no_network(attempt: Callable[..., float]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert attempt("dials", port=listener.getsockname()[1]) == REFUSED
    assert attempt("serves") == REFUSED


@has_seccomp
@pytest.mark.parametrize("kernel", ["traces", "peeks"])
def test_kernels_cannot_get_at_the_memory_of_agent_nursery_and_siblings(
    attempt: Callable[..., float], prison: Any, kernel: str
) -> None:
    sibling = prison.start()[1].pid
    for pid in (os.getpid(), prison.yard.family()[0], sibling):
        assert attempt(kernel, pid=pid) == REFUSED


@has_signal_scope
def test_kernels_cannot_signal_agent_nursery_and_siblings(
    attempt: Callable[..., float], prison: Any
) -> None:
    sibling = prison.start()[1].pid
    for pid in (os.getpid(), prison.yard.family()[0], sibling):
        assert attempt("signals", pid=pid) == REFUSED


@has_seccomp
def test_kernels_cannot_make_namespaces(attempt: Callable[..., float]) -> None:
    assert attempt("unshares") == REFUSED


@has_landlock
def test_a_kernel_cannot_plant_code_in_the_cache_of_later_nurseries(
    attempt: Callable[..., float], prison: Any
) -> None:
    given = Path(prison.cache_dir)
    caches = list(given.parent.glob(f"{given.name}*"))
    assert caches
    assert [attempt("writes", cache / "planted") for cache in caches] == [REFUSED] * len(caches)


@has_landlock
def test_a_kernel_that_runs_into_a_fence_is_told_what_it_may(prison: Any) -> None:
    submitter = prison.submitter("trips")
    submitter.post(0)
    fault = submitter.results(1)[0].fault
    submitter.close()
    assert "PermissionError" in fault.message
    assert "runners.read_paths" in fault.hint


@is_root
def test_runners_of_a_root_agent_are_not_root(attempt: Callable[..., float]) -> None:
    assert attempt("whoami") != 0.0


def run_as(uid: int, *words: object) -> subprocess.CompletedProcess[str]:
    begin = [sys.executable] if uid == 0 else [sys.executable, str(HERE / "as_user.py"), str(uid)]
    done = subprocess.run(
        [*begin, *map(str, words)], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode == 77:
        pytest.skip(f"this machine cannot show Python to another user: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return done


@is_root
@pytest.mark.parametrize("uid", [0, NOBODY])
@pytest.mark.parametrize("kernel", ["with", "without"])
def test_keys_are_out_of_reach_with_and_without_landlock_for_root_and_others(
    uid: int, kernel: str
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "node.key").write_text("00" * 32)
        os.chown(folder, uid, uid)
        os.chown(folder / "node.key", uid, uid)
        done = run_as(
            uid, HERE / "fenced_process.py", folder, kernel, folder / "node.key", __file__
        )
    finally:
        shutil.rmtree(folder)
    told = json.loads(done.stdout)
    if kernel == "without" and "mounts" not in told["up"] and uid == NOBODY:
        pytest.skip(f"this kernel gives users no namespaces: {told}")
    assert not told["read"][str(folder / "node.key")], told
    if kernel == "with" and landlock.version():
        assert "files" in told["up"], told


@is_root
def test_runners_work_for_an_agent_that_is_not_root(prying: tuple[str, ...]) -> None:
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, NOBODY, NOBODY)
    program = [HERE / "agent_process.py", folder / "cache", *prying[:1]]
    try:
        done = run_as(NOBODY, *program, "--once")
    finally:
        shutil.rmtree(folder)
    assert len(done.stdout.splitlines()) == 2, done.stderr


def test_an_agent_closes_its_memory_to_its_own_user() -> None:
    child = os.fork()
    if child == 0:
        close_memory()
        os._exit(0 if Path("/proc/self/environ").stat().st_uid == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
