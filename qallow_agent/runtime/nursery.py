"""The nursery: a process that imports the kernels once and forks runners from its own memory.

Started by the yard as ``python -m qallow_agent.runtime.nursery FD AGENT_PID`` with a short
environment. It holds no key, opens no socket and starts no thread, so a fork of it is clean. It
ends, and with it every runner, when the agent closes the socket or dies. Before it imports any
kernel it puts up the fences that keep kernels from the agent's keys.
"""

import contextlib
import faulthandler
import gc
import os
import select
import shutil
import signal
import socket
import sys
import traceback
from typing import Final, NoReturn

from qallow_agent.base.errors import DeviceError, InvariantBroken
from qallow_agent.base.ids import RunnerId
from qallow_agent.base.message import Message
from qallow_agent.kernels.backends import backend_for, device_kinds, load_backend
from qallow_agent.kernels.registry import Catalog, load_catalog
from qallow_agent.runtime import scratch
from qallow_agent.runtime.fences import Fence, Ground, enclose, look_up
from qallow_agent.runtime.limits import (
    adopt_orphans,
    die_with_parent,
    orphans,
    step_back,
    take_name,
)
from qallow_agent.runtime.orders import (
    PACKET_BYTES,
    Fork,
    Forked,
    Kill,
    Preload,
    Preloaded,
    Reaped,
    order_codec,
)
from qallow_agent.runtime.runner import live

_LUGGAGE: Final = 3
_EXIT_BROKEN: Final = 70
_EXIT_NO_FORK: Final = 71
_EXIT_UNFENCED: Final = 72
_PROBLEM_CHARS: Final = 2_000


class Nursery:
    """Forks, kills and reaps runners as the agent says.

    Args:
        control: The socket to the agent's yard.
        agent_pid: Our parent; when it ends, so do we.
    """

    def __init__(self, control: socket.socket, agent_pid: int) -> None:
        self._control = control
        self._agent_pid = agent_pid
        self._ground = Ground()
        self._sweepers: set[int] = set()
        self._codec = order_codec()
        self._runners: dict[int, RunnerId] = {}
        self._alarm, self._bell = socket.socketpair()

    def run(self) -> None:
        """Serve until the agent is gone."""
        catalog = self._preload()
        self._alarm.setblocking(False)
        self._bell.setblocking(False)
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            while True:
                ready, _, _ = select.select([self._control, self._alarm], [], [])
                if self._alarm in ready:
                    self._alarm.recv(PACKET_BYTES)
                    self._reap()
                if self._control in ready and not self._hear(catalog):
                    return
        finally:
            for pid in self._runners:
                _kill(pid)
            self._kill_orphans(frozenset())

    def _preload(self) -> Catalog:
        order = self._codec.decode(self._control.recv(PACKET_BYTES))
        if not isinstance(order, Preload):
            raise InvariantBroken(f"the first order to a nursery was {order!r}")
        fences = self._fence(order)
        catalog = load_catalog(order.kernels.modules, order.kernels.disabled)
        problems = tuple(problem[:_PROBLEM_CHARS] for problem in preload(catalog))
        # What lives now lives for ever: the collector of a child need not look at it, and so does
        # not copy its pages.
        gc.collect()
        gc.freeze()
        self._report(Preloaded(problems, fences))
        return catalog

    def _fence(self, order: Preload) -> tuple[Fence, ...]:
        self._ground = look_up(order.ground, order.settings)
        try:
            fences = enclose(self._ground, order.settings)
        except DeviceError as error:
            print(f"{error.message}\n  fix: {error.hint}", flush=True)  # noqa: T201 - to the log
            os._exit(_EXIT_UNFENCED)
        # Whoever changes its user is no longer told of its parent's end.
        die_with_parent(signal.SIGTERM, self._agent_pid)
        return fences

    def _hear(self, catalog: Catalog) -> bool:
        packet, luggage, _, _ = socket.recv_fds(
            self._control, PACKET_BYTES, _LUGGAGE, socket.MSG_CMSG_CLOEXEC
        )
        if not packet:
            return False
        order = self._codec.decode(packet)
        if isinstance(order, Fork) and len(luggage) == _LUGGAGE:
            self._fork(order, (luggage[0], luggage[1], luggage[2]), catalog)
        elif isinstance(order, Kill):
            for pid, runner in self._runners.items():
                if runner == order.runner:
                    _kill(pid)
        for descriptor in luggage:
            os.close(descriptor)
        return True

    def _fork(self, order: Fork, luggage: tuple[int, int, int], catalog: Catalog) -> None:
        me = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            print(f"a runner could not be forked: {error}", flush=True)  # noqa: T201 - to the log
            self._report(Reaped(order.runner, _EXIT_NO_FORK))
            return
        if pid == 0:
            self._be_a_runner(order, luggage, catalog, me)
        self._runners[pid] = order.runner
        self._report(Forked(order.runner, pid))

    def _be_a_runner(
        self, order: Fork, luggage: tuple[int, int, int], catalog: Catalog, nursery_pid: int
    ) -> NoReturn:
        status = _EXIT_BROKEN
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            status = live(order, luggage, catalog, self._ground, nursery_pid)
        except BaseException:  # noqa: BLE001 - nothing of a child may return into the nursery's loop
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            self._sweepers.discard(pid)
            runner = self._runners.pop(pid, None)
            if runner is not None:
                _kill(pid)  # its process group, while the dead leader still holds the number
            _, status = os.waitpid(pid, 0)
            if runner is not None:
                self._kill_orphans(frozenset(self._runners) | self._sweepers)
                self._sweep(runner)
                self._report(Reaped(runner, os.waitstatus_to_exitcode(status)))

    def _sweep(self, runner: RunnerId) -> None:
        """Remove what a runner left; a child does it when it may take long."""
        folder = self._ground.folder_of(runner)
        if not folder or scratch.empty(folder):
            return
        try:
            pid = os.fork()
        except OSError:
            return  # it goes with the nursery
        if pid == 0:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)
        self._sweepers.add(pid)

    def _kill_orphans(self, known: frozenset[int]) -> None:
        for pid in orphans(known):
            os.kill(pid, signal.SIGKILL)

    def _report(self, message: Message) -> None:
        self._control.send(self._codec.encode(message))


def preload(catalog: Catalog) -> list[str]:
    """Import and compile what runs on a CPU; return what went wrong, one line each.

    Other backends load in the child: a device's library, like OpenMP's, does not survive a fork.
    """
    problems = [f"{item.facts.get('kernel')}: {item.facts.get('why')}" for item in catalog.troubles]
    for name in catalog.names:
        kernel = catalog.get(name)
        if "cpu" not in device_kinds(kernel):
            continue
        try:
            load_backend(kernel, backend_for(kernel, "cpu"))
        except Exception as error:  # noqa: BLE001 - a plug-in is foreign code and may raise anything
            problems.append(f"{name}: {error}")
    return problems


def _kill(pid: int) -> None:
    """Kill a child of ours that is not reaped yet, and its process group if it has one."""
    os.kill(pid, signal.SIGKILL)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it died before it made its session
        return


def main() -> None:
    """Be the nursery of the agent that started us."""
    faulthandler.enable()
    agent_pid = int(sys.argv[2])
    die_with_parent(signal.SIGTERM, agent_pid)
    adopt_orphans()
    step_back()
    take_name("qallow-nursery")
    # A broken pipe is an agent that ended while its kernels were compiled: nobody is left to tell.
    with contextlib.suppress(BrokenPipeError):
        Nursery(socket.socket(fileno=int(sys.argv[1])), agent_pid).run()
    os._exit(0)


if __name__ == "__main__":
    main()
