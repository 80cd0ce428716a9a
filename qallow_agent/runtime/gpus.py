"""The GPUs of this machine: NVIDIA's through NVML, a Jetson's and other makers' through sysfs."""

import time
from pathlib import Path

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.facts import DeviceFaults
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.runtime.boards import NO_CUDA_KERNELS, why_no_cuda
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.nvml import Board, Nvml, open_nvml
from qallow_agent.runtime.sensing.devfreq import JetsonGpu, find_jetson
from qallow_agent.runtime.sensing.drm import SysGpu, find_gpus
from qallow_agent.runtime.sensing.energy import BoardEnergy
from qallow_agent.runtime.sensing.faults import FaultTally
from qallow_agent.runtime.sensing.files import ROOT
from qallow_agent.runtime.sensing.muster import Clock, Muster
from qallow_agent.runtime.sensing.nvml_board import SOURCE, Sight

NO_GPU_KERNELS = Complaint("kernels run on NVIDIA GPUs and on CPUs only", "it is only shown")


class GpuProbe:
    """Reads the GPUs again and again, and opens their library anew when that may help.

    Args:
        settings: Whether to look at all, and how often to try again.
        kinds: Device kinds that some kernel here has a backend for.
        clock: Monotonic seconds.
        root: Where sys/ and proc/ lie.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        kinds: tuple[str, ...] = ("cpu",),
        clock: Clock = time.monotonic,
        root: Path = ROOT,
    ) -> None:
        self.why = Complaint("GPUs are switched off (devices.gpu)")
        self._settings = settings
        self._idle = why_no_cuda(kinds)
        self._clock = clock
        self._root = root
        self._nvml: Nvml | None = None
        self._open_due_s: Seconds | None = None
        self._jetson: JetsonGpu | None = None
        self._others: tuple[SysGpu, ...] = ()
        # By board: they outlive the library, so that joules never fall and no fault counts twice.
        self._energy: dict[str, BoardEnergy] = {}
        self._tallies: dict[str, FaultTally] = {}

    def read(self) -> Muster:
        """Return every GPU as it is now; ``why`` says why NVML shows none, or is empty."""
        if self._settings.gpu == "off":
            return Muster()
        now_s = self._clock()
        found = self._boards(now_s)
        devices = tuple(self._board(board, sight, now_s) for board, sight in found)
        faults = {
            name: DeviceFaults(tally.count, tally.newest)
            for name, tally in self._tallies.items()
            if tally.count
        }
        if self._jetson is not None and not found:
            devices = (self._board(self._jetson, Sight({}), now_s),)
        devices += tuple(_shown(gpu, now_s) for gpu in self._others)
        complaints = (self.why,) if self.why.fix and not found else ()
        return Muster(devices, faults, complaints)

    def close(self) -> None:
        """Let go of the library."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None

    def _boards(self, now_s: Seconds) -> tuple[tuple[Board, Sight], ...]:
        if self._nvml is None and self._may_open():
            self._nvml, self.why = open_nvml()
            self._jetson, self._others = find_jetson(self._root), find_gpus(self._root)
        if self._nvml is None:
            return ()
        try:
            found = self._nvml.read(now_s)
        except DeviceLost as error:
            self.why = Complaint(error.message, error.hint)
            self.close()
            return ()
        if any(sight.lost.why for _, sight in found) and self._may_open():
            # A board that fell off the bus returns only to a library opened anew.
            self.close()
            self._open_due_s = None
        return found

    def _may_open(self) -> bool:
        now_s = self._clock()
        if self._open_due_s is not None and now_s < self._open_due_s:
            return False
        self._open_due_s = now_s + self._settings.reprobe_s
        return True

    def _board(self, board: Board | JetsonGpu, sight: Sight, now_s: Seconds) -> DeviceAdvert:
        self._tallies.setdefault(board.name, FaultTally()).note(sight.faults)
        readings, memory_bytes = sight.readings, board.memory_bytes
        if self._jetson is not None:  # its NVML supports next to nothing
            told = {name: each for name, each in readings.items() if each.value is not None}
            readings = readings | self._jetson.read(now_s) | told
            memory_bytes = memory_bytes or self._jetson.memory_bytes
        readings = self._with_energy(board.name, readings, now_s)
        state, complaint = DeviceState.WARMING, sight.note
        if self._idle.why:
            state, complaint = DeviceState.QUARANTINED, self._idle
        if sight.lost.why:
            state, complaint = DeviceState.LOST, sight.lost
        return DeviceAdvert(
            name=board.name,
            kind="cuda",
            model=board.model,
            state=state,
            slots=0 if self._idle == NO_CUDA_KERNELS else 1,
            busy=0,
            memory_bytes=memory_bytes,
            why=complaint.why,
            fix=complaint.fix,
            readings=readings,
            throttle=sight.throttle,
        )

    def _with_energy(
        self, name: str, readings: dict[str, Reading], now_s: Seconds
    ) -> dict[str, Reading]:
        """Return readings with the joules since we began to look in place of the board's count."""
        counter = readings.get("energy")
        if counter is None:
            return readings
        power = readings.get("power", unknown("watts", SOURCE, "it tells no power"))
        meter = self._energy.setdefault(name, BoardEnergy(name))
        return readings | {"energy": meter.read(counter, power, now_s)}


def _shown(gpu: SysGpu, now_s: Seconds) -> DeviceAdvert:
    """Return a GPU that no kernel can use: people look for it all the same."""
    return DeviceAdvert(
        name=gpu.name,
        kind="gpu",
        model=gpu.model,
        state=DeviceState.QUARANTINED,
        slots=0,
        busy=0,
        memory_bytes=gpu.memory_bytes,
        why=NO_GPU_KERNELS.why,
        fix=NO_GPU_KERNELS.fix,
        readings=gpu.read(now_s),
    )
