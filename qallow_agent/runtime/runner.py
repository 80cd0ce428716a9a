"""A runner: the child process in which kernels run, from the fork to its exit.

It has its own CURVE key, an allow-list of submitters, limits, and nothing of the agent's. It ends
when the agent's pipe closes, when the nursery dies, or when a kernel takes it down.
"""

import faulthandler
import os
import random
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import zmq
from zmq.utils import z85

from qallow_agent.base.contact import join_address
from qallow_agent.base.errors import DeviceError, InvariantBroken
from qallow_agent.jobs.local import RunnerReady
from qallow_agent.kernels.registry import Catalog
from qallow_agent.kernels.threads import CREW
from qallow_agent.runtime.boards import choose_board
from qallow_agent.runtime.fences import Ground, close_network, enclose_runner
from qallow_agent.runtime.gate import ORDERS, Gate
from qallow_agent.runtime.limits import confine, die_with_parent, memory_allowance, take_name
from qallow_agent.runtime.orders import Fork, runner_codec
from qallow_agent.runtime.plugins import attach
from qallow_agent.runtime.posture import read_posture
from qallow_agent.runtime.scratch import move_in
from qallow_agent.runtime.serving import Server
from qallow_agent.runtime.settings import RunnerSettings
from qallow_agent.runtime.slate import Slate
from qallow_agent.runtime.stowage import Stowage
from qallow_agent.runtime.workshop import Workshop

ZAP_DOMAIN: Final = b"runner"
"""Without a domain libzmq would not ask the gate at all."""

_FRAME_SHARE: Final = 4
"""A frame may take this part of the allowance: it is held twice while CURVE decrypts it, and once
more as a result."""

_QUEUE: Final = 256
_SEND_MS: Final = 5_000
_LINGER_MS: Final = 500
_HANDSHAKE_MS: Final = 2_000
_HEARTBEAT_MS: Final = 3_000
_SILENCE_MS: Final = 12_000
"""A submitter stopped for three seconds (SIGSTOP, a laptop's lid) keeps its connection."""

_STDERR: Final = 2
_BIND_TRIES: Final = 16
_EXIT_HUNG: Final = 75
_EXIT_LOST: Final = 74
"""EX_IOERR: the device failed under a task."""


def live(
    order: Fork,
    luggage: tuple[int, int, int],
    catalog: Catalog,
    ground: Ground,
    nursery_pid: int,
) -> int:
    """Be a runner; return the exit status.

    Args:
        order: Who we are and what we may.
        luggage: Our agent socket, slate and output pipe.
        catalog: The preloaded kernels.
        ground: What our fences stand around.
        nursery_pid: Our parent; when it ends we are killed.

    Raises:
        DeviceError: The system refuses a limit, no port is free, the device is out of reach, or no
            plug-in knows it.
    """
    agent_fd, slate_fd, output_fd = luggage
    os.setsid()
    die_with_parent(signal.SIGKILL, nursery_pid)
    take_name("qallow-runner")
    _settle(output_fd, keep=(agent_fd, slate_fd))
    enclose_runner(ground, order.settings, _furnish(order, ground))
    if order.kind == "cuda":
        choose_board(order.device, os.environ)
    slate = Slate(slate_fd)
    agent = socket.socket(fileno=agent_fd)
    codec = runner_codec()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gate = Gate(
        context, agent, codec, abandon=lambda: os._exit(_EXIT_HUNG), stop_s=order.settings.stop_s
    )
    gate.open()
    allowance_bytes = memory_allowance(order.settings)
    router, public = open_router(context, allowance_bytes)
    port = bind(router, order.hosts, order.settings)
    guest = attach(order.plugin, order.kind, order.device) if order.plugin else None
    CREW.resize(order.settings.threads if order.kind == "cpu" else 1)
    workshop = Workshop(catalog, order.kind, allowance_bytes, guest)
    stowage = Stowage(public, allowance_bytes)
    server = Server(router, gate, workshop, slate, stowage, read_posture())
    os.register_at_fork(after_in_child=lambda: _be_a_copy(server))
    thread = threading.Thread(target=gate.run, name="gate", daemon=True)
    thread.start()
    confine(order.settings, allowance_bytes, order.kind)
    close_network(order.settings)
    gate.report(RunnerReady(port, public, os.getpid()))
    server.run()
    if workshop.lost:  # the gate hears this as the agent's farewell
        agent.shutdown(socket.SHUT_RD)
    gate.stopped.set()
    router.close(linger=_LINGER_MS)
    thread.join()
    context.term()
    return _EXIT_LOST if workshop.lost else 0


def open_router(
    context: zmq.Context[zmq.Socket[bytes]], allowance_bytes: int
) -> tuple[zmq.Socket[bytes], bytes]:
    """Return a CURVE server socket with a fresh key, not bound yet, and its public key."""
    public, secret = zmq.curve_keypair()
    router = context.socket(zmq.ROUTER)
    router.curve_server = True
    router.curve_secretkey = secret
    router.curve_publickey = public
    router.zap_domain = ZAP_DOMAIN
    router.router_mandatory = True
    router.maxmsgsize = allowance_bytes // _FRAME_SHARE
    router.rcvhwm = router.sndhwm = _QUEUE
    router.sndtimeo = _SEND_MS
    router.handshake_ivl = _HANDSHAKE_MS
    router.heartbeat_ivl = _HEARTBEAT_MS
    router.heartbeat_timeout = router.heartbeat_ttl = _SILENCE_MS
    router.ipv6 = True
    return router, z85.decode(public)


def bind(router: zmq.Socket[bytes], hosts: tuple[str, ...], settings: RunnerSettings) -> int:
    """Bind to one port on every host, and to the gate's inproc address; return the port.

    Raises:
        DeviceError: No port is free on all of them.
    """
    router.bind(ORDERS)
    first, last = settings.port_first, settings.port_last
    ports = range(first, max(first, last) + 1) if first else [0] * _BIND_TRIES
    for wanted in ports:
        bound: list[str] = []
        port = wanted
        try:
            for host in hosts:
                router.bind(f"tcp://{join_address(host, port)}" if port else _any_port(host))
                bound.append(endpoint_of(router))
                port = int(bound[-1].rpartition(":")[2])
        except zmq.ZMQError:
            for endpoint in bound:
                router.unbind(endpoint)
            continue
        return port
    where = f"ports {first} to {max(first, last)}" if first else "any port"
    raise DeviceError(
        f"a runner cannot listen on {', '.join(hosts)} at {where}",
        hint="free a port, or widen runners.port_first to runners.port_last",
    )


def endpoint_of(router: zmq.Socket[bytes]) -> str:
    """Return where a socket was last bound, the port filled in."""
    endpoint = router.getsockopt(zmq.LAST_ENDPOINT)
    if not isinstance(endpoint, bytes):
        raise InvariantBroken(f"libzmq names its endpoint as {endpoint!r}")
    return endpoint.rstrip(b"\0").decode()


def _any_port(host: str) -> str:
    return f"tcp://{join_address(host, 0)[:-1]}*"


def _settle(output_fd: int, keep: tuple[int, ...]) -> None:
    """Point the standard streams away from the nursery's and close all else that it had open."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - names, not paths
        if descriptor > _STDERR and descriptor not in keep:
            with suppress(OSError):  # the listing's own
                os.close(descriptor)
    faulthandler.enable()
    random.seed()
    np.random.seed()  # noqa: NPY002 - every fork would draw the numbers of its siblings


def _furnish(order: Fork, ground: Ground) -> tuple[str, ...]:
    """Move into our scratch folder; return which folders we may write.

    What a runner compiles must not land in the nursery's cache: those files are pickles, and
    whoever may write one can run code in every later nursery. CPU kernels are compiled there
    before we are forked. Other devices' are not, so runners of one kind share a cache.
    """
    folder = ground.folder_of(order.runner)
    if folder:
        move_in(folder)
    kept = str(Path(ground.cache) / order.kind) if ground.cache and order.kind != "cpu" else ""
    if kept:
        Path(kept).mkdir(mode=0o700, exist_ok=True)
        os.environ["CUDA_CACHE_PATH"] = kept
    if "numba" in sys.modules and (kept or folder):
        from qallow_agent.kernels.jit import keep_compiled_in  # noqa: PLC0415 - brings numba

        keep_compiled_in(kept or folder)
    return tuple(filter(None, (folder, kept)))


def _be_a_copy(server: Server) -> None:
    """In a process that a kernel forks: it may work, but never serve, and dies with us."""
    server.copied = True
    die_with_parent(signal.SIGKILL, os.getppid())
