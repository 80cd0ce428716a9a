"""One kernel tried on one device, in a process of its own: no agent, no job, no lease.

Started as ``python -m qallow_agent.runtime.trial`` with an order on standard input; the answer is
the last line of standard output. A kernel that crashes or hangs takes down this process only.
"""

import os
import subprocess
import sys
import time
from typing import Final

import msgspec

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.errors import QallowError
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.kernels.backends import backend_for
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.mesh.wire.kinds import DeviceAdvert
from qallow_agent.runtime.berth import tell_end
from qallow_agent.runtime.boards import choose_board
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.devices import probe_cpu
from qallow_agent.runtime.gpus import GpuProbe
from qallow_agent.runtime.nursery_link import clean_environment
from qallow_agent.runtime.sensing.host import cpu_meter

LIMIT_S: Final = 120.0
"""For imports, compilation and a benchmark's first runs; its own time comes on top."""


class Order(msgspec.Struct, frozen=True):
    """What to try.

    Args:
        kernel: Its name.
        kernels: Where kernels are found.
        device: ``cpu0``, ``gpu0``, ...
        kind: Its kind.
        threads: Threads that CPU kernels may use.
        seconds: How long to run a benchmark; 0 for the tests alone.
        import_paths: Folders from which plug-in kernels may be imported.
    """

    kernel: str
    kernels: KernelSettings
    device: str
    kind: str
    threads: int = 1
    seconds: float = 0.0
    import_paths: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """How a kernel did on a device.

    Args:
        backend: What was tried; empty when none was chosen.
        why: What is wrong, in one line; empty when all is right.
        fix: What a person can do about that.
        error: Greatest difference from the reference; None where that is not known.
        threads: Threads it could use; 0 where the device decides.
        points: Points of the benchmark's task; what follows is 0 or None without a benchmark.
        ops_per_s: Operations a second.
        steps_per_s: Steps a second.
        bound_per_s: Operations a second that no code can exceed on this device.
        energy: Joules of the whole device during the benchmark.
        joules_per_op: Of these.
    """

    backend: str = ""
    why: str = ""
    fix: str = ""
    error: float | None = None
    threads: int = 0
    points: int = 0
    ops_per_s: float = 0.0
    steps_per_s: float = 0.0
    bound_per_s: float | None = None
    energy: Reading = unknown("joules", "none", "it was not measured")
    joules_per_op: float | None = None


class BoardMeter:
    """The joules that a board counts.

    Args:
        device: Its name.
        probe: Reads the boards.
    """

    def __init__(self, device: str, probe: GpuProbe) -> None:
        self._device = device
        self._probe = probe

    def read(self, now_s: float) -> Reading:  # noqa: ARG002 - a counter needs no time
        """Return what the board has counted, or why that is unknown."""
        for board in self._probe.read().devices:
            if board.name == self._device and "energy" in board.readings:
                return board.readings["energy"]
        return unknown("joules", "nvml", "the board counts no joules")


def devices_here(
    settings: DeviceSettings, kinds: tuple[str, ...]
) -> tuple[tuple[DeviceAdvert, ...], Complaint]:
    """Return the CPU and every GPU as they are now, and why NVML shows no GPU.

    Args:
        settings: What the owner offers.
        kinds: Device kinds that some kernel here has a backend for.
    """
    probe = GpuProbe(settings, kinds)
    gpus = probe.read().devices
    probe.close()
    return (probe_cpu(settings), *gpus), probe.why


def attempt(order: Order) -> Verdict:
    """Return how a kernel does, from a process of its own; never raises for what it does there."""
    environment = clean_environment(order.import_paths, "")
    limit_s = LIMIT_S + 3 * order.seconds
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "qallow_agent.runtime.trial"],
            input=msgspec.json.encode(order), env=environment, stdout=subprocess.PIPE,
            timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Verdict(why=f"it did not end within {limit_s:.0f} s")
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return Verdict(why=f"its process ended ({tell_end(done.returncode, '')})")
    return msgspec.json.decode(lines[-1], type=Verdict)


def judge(order: Order) -> Verdict:
    """Try a kernel on the device of this process.

    Raises:
        QallowError: It cannot be tried.
    """
    from qallow_agent.kernels import measuring  # noqa: PLC0415 - NumPy, after the board is chosen
    from qallow_agent.kernels.execution import run_canary  # noqa: PLC0415 - likewise
    from qallow_agent.kernels.limits import measure_limits  # noqa: PLC0415 - likewise
    from qallow_agent.kernels.threads import CREW  # noqa: PLC0415 - likewise

    kernel = load_catalog(order.kernels.modules, order.kernels.disabled).get(order.kernel)
    backend = backend_for(kernel, order.kind)
    on_cpu = order.kind == "cpu"
    verdict = Verdict(backend=backend, threads=order.threads if on_cpu else 0)
    CREW.resize(order.threads if on_cpu else 1)
    outcome = run_canary(kernel, backend, time.perf_counter)
    if not outcome.passed:
        return msgspec.structs.replace(
            verdict, why=f"known answers: {outcome.why}", fix=outcome.hint
        )
    found = measuring.difference(kernel, backend)
    verdict = msgspec.structs.replace(verdict, error=found.error, why=found.why)
    if found.why or not order.seconds:
        return verdict
    meter = cpu_meter() if on_cpu else BoardMeter(order.device, GpuProbe(DeviceSettings()))
    # Before and after: whatever else the machine does can only make a limit look smaller.
    bounds = [measuring.bound(kernel, backend, measure_limits(order.threads))] if on_cpu else []
    speed = measuring.speed(kernel, backend, order.seconds, time.perf_counter, meter)
    bounds += [measuring.bound(kernel, backend, measure_limits(order.threads))] if on_cpu else []
    limit = max((each for each in bounds if each is not None), default=None)
    return msgspec.structs.replace(
        verdict, points=speed.points, ops_per_s=speed.ops_per_s, steps_per_s=speed.steps_per_s,
        bound_per_s=limit, energy=speed.energy, joules_per_op=speed.joules_per_op,
    )  # fmt: skip


def main() -> None:
    """Answer the order on standard input; whatever kernels print goes to standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        if order.kind == "cuda":
            choose_board(order.device, os.environ)
        verdict = judge(order)
    except QallowError as error:
        verdict = Verdict(why=error.message, fix=error.hint)
    with os.fdopen(answer, "wb") as stream:
        stream.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()
