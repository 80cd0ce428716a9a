"""The devices of this machine as adverts: the CPU always, GPUs where a driver is."""

import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from msgspec import structs

from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.reading import unknown
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.runtime.boards import why_no_cuda
from qallow_agent.runtime.cgroup import Limits, read_limits
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.nvml import SOURCE, Nvml, open_nvml
from qallow_agent.runtime.sensing.energy import BoardEnergy

HUNG_PERIODS = 5
"""A driver silent for this many samples is hung: it answers in milliseconds when it is well."""
_CPUINFO = Path("/proc/cpuinfo")


class GpuProbe:
    """Reads the GPUs again and again, and opens their library anew when that may help.

    Args:
        settings: Whether to look at all, and how often to try again.
        kinds: Device kinds that some kernel here has a backend for.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        kinds: tuple[str, ...] = ("cpu",),
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self.why = "GPUs are switched off (devices.gpu)"
        self._settings = settings
        self._why_not = why_no_cuda(kinds)
        self._clock = clock
        self._nvml: Nvml | None = None
        self._open_due_s: Seconds | None = None
        self._energy: dict[str, BoardEnergy] = {}
        """By board: outlives the library, so that a board's joules never fall."""

    def read(self) -> tuple[DeviceAdvert, ...]:
        """Return every GPU as it is now; ``why`` says why there is none, or is empty."""
        if self._settings.gpu == "off":
            return ()
        if self._nvml is None and self._may_open():
            self._nvml, self.why = open_nvml()
        if self._nvml is None:
            return ()
        try:
            boards = self._nvml.read(self._why_not)
        except DeviceLost as error:
            self.why = str(error)
            self.close()
            return ()
        if any(board.state is DeviceState.LOST for board in boards) and self._may_open():
            # A board that fell off the bus returns only to a library opened anew.
            self.close()
            self._open_due_s = None
        return tuple(self._settle(board) for board in boards)

    def _settle(self, board: DeviceAdvert) -> DeviceAdvert:
        """Return a board with the joules since we began to look in place of its own count."""
        counter = board.readings.get("energy")
        if counter is None:
            return board
        power = board.readings.get("power", unknown("watts", SOURCE, "it tells no power"))
        meter = self._energy.setdefault(board.name, BoardEnergy(board.name))
        energy = meter.read(counter, power, self._clock())
        return structs.replace(board, readings=board.readings | {"energy": energy})

    def close(self) -> None:
        """Let go of the library."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None

    def _may_open(self) -> bool:
        now_s = self._clock()
        if self._open_due_s is not None and now_s < self._open_due_s:
            return False
        self._open_due_s = now_s + self._settings.reprobe_s
        return True


class GpuWatch:
    """Reads the GPUs in a daemon thread and hands over what it saw last.

    Args:
        settings: Whether to look at all, and how often.
        kinds: Device kinds that some kernel here has a backend for.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        kinds: tuple[str, ...],
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._probe = GpuProbe(settings, kinds, clock)
        self._clock = clock
        self._seen: tuple[Seconds, tuple[DeviceAdvert, ...]] | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def latest(self) -> tuple[DeviceAdvert, ...]:
        """Return the GPUs as last seen; lost when the driver has not answered for a while."""
        if self._thread is None and self._settings.gpu != "off":
            self._thread = threading.Thread(target=self._run, name="gpus", daemon=True)
            self._thread.start()
        if self._seen is None:
            return ()
        seen_s, boards = self._seen
        silent_s = self._clock() - seen_s
        if silent_s <= HUNG_PERIODS * self._settings.sample_s:
            return boards
        why = f"the driver has not answered for {silent_s:.0f} s"
        return tuple(
            structs.replace(board, state=DeviceState.LOST, why=why, readings={}) for board in boards
        )

    def close(self) -> None:
        """Stop watching; a thread that hangs in the driver is left behind."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._closed.is_set():
            boards = self._probe.read()
            self._seen = (self._clock(), boards)
            rest_s = self._settings.sample_s if boards else self._settings.reprobe_s
            self._closed.wait(rest_s)
        self._probe.close()


def probe_devices(
    settings: DeviceSettings, kinds: tuple[str, ...] = ("cpu",)
) -> tuple[DeviceAdvert, ...]:
    """Return every device once, the CPU first.

    ``state`` is what the hardware says: ``warming`` means that nothing is wrong and a canary has
    yet to pass. ``busy`` and ``rates`` are the bench's to fill in.
    """
    gpus = GpuProbe(settings, kinds)
    try:
        return (probe_cpu(settings), *gpus.read())
    finally:
        gpus.close()


def probe_cpu(settings: DeviceSettings) -> DeviceAdvert:
    """Return the CPU as one device, with as many slots as cores may be kept busy."""
    limits = read_limits()
    total_bytes = psutil.virtual_memory().total
    allowed_bytes = min(total_bytes, limits.memory_bytes or total_bytes)
    return DeviceAdvert(
        name="cpu0",
        kind="cpu",
        model=cpu_model(),
        state=DeviceState.WARMING,
        slots=settings.cpu_slots or usable_cores(limits),
        busy=0,
        memory_bytes=min(allowed_bytes, settings.cpu_memory_bytes or allowed_bytes),
    )


def usable_cores(limits: Limits) -> int:
    """Return how many cores tasks may keep busy at a time: at least one.

    Physical cores, since the two threads of one core share its arithmetic units; fewer when the
    process is bound to some or its cgroup grants less.
    """
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    try:
        bound = len(psutil.Process().cpu_affinity() or ())
    except (AttributeError, OSError, psutil.Error):
        bound = logical
    granted = int(limits.cpus) if limits.cpus is not None else logical
    return max(1, min(physical, bound or logical, granted))


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """Return the CPU's name for people; the architecture where the kernel tells no name."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in lines)}
    name = facts.get("model name") or facts.get("Model") or facts.get("Hardware")
    return name or platform.processor() or platform.machine()
