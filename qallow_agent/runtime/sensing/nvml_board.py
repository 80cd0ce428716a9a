"""One NVIDIA GPU: every field is asked on its own, and each that fails says why.

Boards answer "not supported" to almost anything (an edge module to most of it). Nothing here needs
root, and no call is taken for granted: an old binding or library may lack it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from qallow_agent.base.complaint import NOTHING, Complaint
from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds, show_bytes
from qallow_agent.runtime.sensing.faults import Fault

SOURCE = "nvml"
SLOW_S: Seconds = 10.0
"""Error counts cost more than all the rest and change rarely."""
LIST_S: Seconds = 2.0
"""So does the list of processes, but what is older than 3 s says nothing of who is there now."""
FULL_SHARE = 0.05
"""Below this share of its memory a GPU counts as full: a CUDA context alone takes 300 MiB."""
FOREIGN_SHARE = 0.5
"""Others' programs that take this share of memory or time are told of."""

_LOST_CODES = (15, 16)
"""NVML_ERROR_GPU_IS_LOST and NVML_ERROR_RESET_REQUIRED: the board itself is out of reach."""
_EMPTY_CODES = (0, 6)
"""What the list of samples answers when nothing ran: success without any, or "not found"."""

_THROTTLES = {
    0x2: "clock-setting",
    0x4: "power-cap",
    0x8: "slowdown",
    0x10: "sync-boost",
    0x20: "heat",
    0x40: "heat-hardware",
    0x80: "power-brake",
    0x100: "display",
}
"""nvmlClocksEventReason... by what they mean; 0x1, idle, is no reason to worry."""

_APPLICATION_XIDS = (13, 31, 43, 45, 68, 109)
"""Errors of the program that ran, not of the board (after NVIDIA's k8s-device-plugin)."""
_MOST_EVENTS = 64

_LOST_FIX = (
    "run 'nvidia-smi' and 'dmesg | grep -i xid'; reset or reseat the board, or reboot; "
    "it is looked for again by itself"
)
_RESET_FIX = "reset it when it is idle (nvidia-smi --gpu-reset), or reboot"
_XID_FIX = "look the number up in NVIDIA's list of XID errors; 'dmesg | grep -i xid' says more"


@dataclass(frozen=True, slots=True)
class Sight:
    """A board at one moment.

    Args:
        lost: Why it is out of reach; empty when it is not.
        note: What is worth knowing about a board that works.
        throttle: Why it runs slower than it could.
    """

    readings: dict[str, Reading]
    lost: Complaint = NOTHING
    note: Complaint = NOTHING
    throttle: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


class NvmlBoard:
    """Reads one board.

    Args:
        binding: The module ``pynvml``, initialised.
        handle: NVML's name of the board; None when it could not be opened.
        total_bytes: Its memory; 0 when unknown.
        is_ours: Whether a process belongs to this agent.
    """

    def __init__(
        self, binding: ModuleType, handle: Any, total_bytes: int, is_ours: Callable[[int], bool]
    ) -> None:
        self._nvml = binding
        self._handle = handle
        self._total_bytes = total_bytes
        self._is_ours = is_ours
        self._limits: dict[str, Reading] | None = None
        self._slow_due_s: Seconds | None = None
        self._slow: dict[str, Reading] = {}
        self._list_due_s: Seconds | None = None
        self._listed: dict[str, Reading] = {}
        self._faults: dict[str, Fault] = {}
        self._events: Any = None
        self._xids = 0
        self._xid = unknown("count", SOURCE, "no XID error since the agent began to look")
        self._sampled_us = 0

    def read(self, now_s: Seconds) -> Sight:
        """Return the board as it is now."""
        if self._handle is None:
            return Sight({}, Complaint("it cannot be opened", _LOST_FIX))
        try:
            if self._limits is None:
                self._limits = self._read_limits()
                self._listen()
            readings = self._read_fast()
            self._hear()
            if self._slow_due_s is None or now_s >= self._slow_due_s:
                self._slow_due_s = now_s + SLOW_S
                self._slow = self._read_errors()
            if self._list_due_s is None or now_s >= self._list_due_s:
                self._list_due_s = now_s + LIST_S
                self._listed = self._read_processes()
            throttle = self._throttle()
        except DeviceLost as error:
            return Sight({}, Complaint(error.message, _LOST_FIX), faults=self._told())
        readings |= self._limits | self._slow | self._listed | {"xid": self._xid}
        self._judge_heat(readings)
        return Sight(readings, NOTHING, self._note(readings), throttle, self._told())

    def close(self) -> None:
        """Let go of the board's events."""
        if self._events is not None:
            self._ask("nvmlEventSetFree", self._events)

    # --- what is asked -------------------------------------------------------------------------

    def _read_limits(self) -> dict[str, Reading]:
        nvml = self._nvml
        slowdown = getattr(nvml, "NVML_TEMPERATURE_THRESHOLD_SLOWDOWN", 1)
        shutdown = getattr(nvml, "NVML_TEMPERATURE_THRESHOLD_SHUTDOWN", 0)
        ask = "nvmlDeviceGetTemperatureThreshold"
        return {
            "temperature_limit": self._field("celsius", ask, slowdown),
            "temperature_shutdown": self._field("celsius", ask, shutdown),
        }

    def _read_fast(self) -> dict[str, Reading]:
        nvml = self._nvml
        memory, why = self._ask("nvmlDeviceGetMemoryInfo", self._handle)
        return {
            "utilization": self._field(
                "ratio", "nvmlDeviceGetUtilizationRates", convert=lambda rates: rates.gpu / 100
            ),
            "memory_available": _from(memory, "free", why),
            "memory_used": _from(memory, "used", why),
            "temperature": self._field(
                "celsius", "nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU
            ),
            "power": self._field("watts", "nvmlDeviceGetPowerUsage", convert=_thousandth),
            "power_limit": self._field(
                "watts", "nvmlDeviceGetEnforcedPowerLimit", convert=_thousandth
            ),
            "energy": self._field(
                "joules", "nvmlDeviceGetTotalEnergyConsumption", convert=_thousandth
            ),
            "clock": self._field(
                "hertz", "nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM, convert=_megahertz
            ),
        }

    def _throttle(self) -> tuple[str, ...]:
        mask, _ = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", self._handle)
        return tuple(name for bit, name in _THROTTLES.items() if int(mask or 0) & bit)

    def _read_errors(self) -> dict[str, Reading]:
        nvml = self._nvml
        uncorrected = getattr(nvml, "NVML_MEMORY_ERROR_TYPE_UNCORRECTED", 1)
        volatile = getattr(nvml, "NVML_VOLATILE_ECC", 0)
        count = self._field("count", "nvmlDeviceGetTotalEccErrors", uncorrected, volatile)
        if count.value is not None:
            why = f"{count.value:.0f} uncorrectable memory errors (ECC) since its driver started"
            self._fault("ecc", int(count.value), why, _RESET_FIX)
        retired, _ = self._ask("nvmlDeviceGetRetiredPagesPendingStatus", self._handle)
        rows, _ = self._ask("nvmlDeviceGetRemappedRows", self._handle)
        pending = bool(retired) or bool(rows and (rows[2] or rows[3]))
        why = "broken memory is to be taken out of use at its next reset"
        self._fault("remap", int(pending), why, _RESET_FIX)
        return {"ecc_uncorrected": count}

    def _read_processes(self) -> dict[str, Reading]:
        found, why = self._ask("nvmlDeviceGetComputeRunningProcesses", self._handle)
        if found is None:
            none = {"foreign_processes": "count", "foreign_memory": "bytes"}
            return {name: unknown(unit, SOURCE, why) for name, unit in none.items()}
        foreign = [process for process in found if not self._is_ours(int(process.pid))]
        sizes = [process.usedGpuMemory for process in foreign]
        hidden = any(size is None for size in sizes)
        memory = Reading(float(sum(size or 0 for size in sizes)), "bytes", SOURCE)
        return {
            "foreign_processes": Reading(float(len(foreign)), "count", SOURCE),
            "foreign_memory": (
                unknown("bytes", SOURCE, "the driver does not tell a process's memory here")
                if hidden
                else memory
            ),
            "foreign_utilization": self._foreign_utilization(
                tuple(int(process.pid) for process in foreign)
            ),
        }

    def _foreign_utilization(self, foreign: tuple[int, ...]) -> Reading:
        """Return the share of time that others' programs computed, as last sampled."""
        if not foreign:
            return Reading(0.0, "ratio", SOURCE)
        ask = getattr(self._nvml, "nvmlDeviceGetProcessUtilization", None)
        if ask is None:
            return unknown("ratio", SOURCE, "this NVML binding has no process samples")
        try:
            samples = ask(self._handle, self._sampled_us)
        except self._nvml.NVMLError as error:
            if error.value in _EMPTY_CODES:
                return Reading(0.0, "ratio", SOURCE)
            return unknown("ratio", SOURCE, str(error))
        newest: dict[int, tuple[int, int]] = {}
        for sample in samples:
            at_us, pid = int(sample.timeStamp), int(sample.pid)
            if pid in foreign and at_us >= newest.get(pid, (0, 0))[0]:
                newest[pid] = (at_us, int(sample.smUtil))
            self._sampled_us = max(self._sampled_us, at_us)
        share = sum(percent for _, percent in newest.values()) / 100
        return Reading(min(1.0, share), "ratio", SOURCE)

    # --- what it tells of itself ---------------------------------------------------------------

    def _listen(self) -> None:
        """Ask to be told of XID errors; a board that does not tell is read all the same."""
        events, why = self._ask("nvmlEventSetCreate")
        if events is not None:
            kind = getattr(self._nvml, "nvmlEventTypeXidCriticalError", 8)
            _, why = self._ask("nvmlDeviceRegisterEvents", self._handle, kind, events)
        if why:
            self._xid = unknown("count", SOURCE, why)
            return
        self._events = events

    def _hear(self) -> None:
        for _ in range(_MOST_EVENTS if self._events is not None else 0):
            event, _ = self._ask("nvmlEventSetWait_v2", self._events, 0)
            if event is None:
                return
            xid = int(event.eventData)
            self._xid = Reading(float(xid), "count", SOURCE)
            if xid not in _APPLICATION_XIDS:
                self._xids += 1
                self._fault("xid", self._xids, f"its driver told of XID error {xid}", _XID_FIX)

    def _judge_heat(self, readings: dict[str, Reading]) -> None:
        heat_c, limit_c = readings["temperature"].value, readings["temperature_shutdown"].value
        over = heat_c is not None and limit_c is not None and heat_c >= limit_c
        why = f"it reached {limit_c} C, where it shuts itself down"
        self._fault("shutdown", int(over), why, "give it cooler air and look at its fans")

    def _fault(self, key: str, count: int, why: str, fix: str) -> None:
        self._faults[key] = Fault(key, count, Complaint(why, fix))

    def _told(self) -> tuple[Fault, ...]:
        return tuple(self._faults.values())

    def _note(self, readings: dict[str, Reading]) -> Complaint:
        """Return what hinders work on a board that is well: others' programs, no free memory."""
        free = readings["memory_available"].value
        theirs = readings["foreign_memory"].value or 0.0
        busy = readings.get("foreign_utilization", Reading(0.0, "ratio", SOURCE)).value or 0.0
        total = self._total_bytes
        stop = "stop them (nvidia-smi lists them), or leave this device to them: devices.gpu=off"
        if free is not None and total and free < FULL_SHARE * total:
            whose = f", {show_bytes(theirs)} of it in other programs" if theirs else ""
            why = f"its memory is full: {show_bytes(free)} of {show_bytes(total)} are free{whose}"
            return Complaint(why, stop if theirs else "smaller tasks, or fewer at a time")
        if total and theirs >= FOREIGN_SHARE * total:
            held = f"{show_bytes(theirs)} of {show_bytes(total)} of its memory"
            return Complaint(f"other programs hold {held}", stop)
        if busy >= FOREIGN_SHARE:
            return Complaint("other programs keep it busy more than half of the time", stop)
        return NOTHING

    # --- asking --------------------------------------------------------------------------------

    def _field(
        self,
        unit: str,
        name: str,
        *arguments: object,
        convert: Callable[[Any], float] = float,
    ) -> Reading:
        value, why = self._ask(name, self._handle, *arguments)
        if why:
            return unknown(unit, SOURCE, why)
        return Reading(float(convert(value)), unit, SOURCE)

    def _ask(self, name: str, *arguments: object) -> tuple[Any, str]:
        """Return (answer, "") or (None, why there is none).

        Raises:
            DeviceLost: The board is out of reach.
        """
        call = getattr(self._nvml, name, None)
        if call is None:
            return None, f"this NVML binding has no {name}"
        try:
            return call(*arguments), ""
        except self._nvml.NVMLError as error:
            if error.value in _LOST_CODES:
                raise DeviceLost(str(error)) from error
            return None, str(error) or "NVML gives no reason"


def _from(memory: Any, part: str, why: str) -> Reading:
    if memory is None:
        return unknown("bytes", SOURCE, why)
    return Reading(float(getattr(memory, part)), "bytes", SOURCE)


def _thousandth(milli: float) -> float:
    return milli / 1000


def _megahertz(mega: float) -> float:
    return mega * 1e6
