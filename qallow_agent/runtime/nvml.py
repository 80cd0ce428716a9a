"""NVIDIA GPUs through NVML: every field is asked on its own, and a machine without is normal.

The module ``pynvml`` costs 17 MiB and 70 ms, so the driver's library is looked for first and the
binding imported only where it loads. Boards answer "not supported" to almost anything (an edge
module to most of it), so each failed field becomes an unknown reading that says why.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState

LIBRARY = "libnvidia-ml.so.1"
SOURCE = "nvml"

_THROTTLE = "throttle"
"""The field that becomes a state, not a reading: it is a set of reasons."""

_THERMAL_REASONS = 0x20 | 0x40
"""nvmlClocksEventReasonSwThermalSlowdown and HwThermalSlowdown."""
_LOST_CODES = (15, 16)
"""NVML_ERROR_GPU_IS_LOST and NVML_ERROR_RESET_REQUIRED: the board itself is out of reach."""


@dataclass(frozen=True, slots=True)
class _Board:
    handle: Any
    name: str
    model: str
    memory_bytes: int


class Nvml:
    """The GPUs of this machine, as NVML tells them.

    Args:
        binding: The module ``pynvml``, initialised.
    """

    def __init__(self, binding: ModuleType) -> None:
        self._nvml = binding
        self._boards: list[_Board] | None = None

    def read(self, why_not: str) -> tuple[DeviceAdvert, ...]:
        """Return every GPU with its readings.

        Args:
            why_not: Why no kernel can run on a GPU here; "" when some can.

        Raises:
            DeviceLost: The library itself stopped answering; open it anew later.
        """
        if self._boards is None:
            self._boards = self._list()
        return tuple(self._describe(board, why_not) for board in self._boards)

    def close(self) -> None:
        """Let go of the library."""
        self._attempt(self._nvml.nvmlShutdown)

    def _list(self) -> list[_Board]:
        count, error = self._attempt(self._nvml.nvmlDeviceGetCount)
        if count is None:
            raise DeviceLost(f"NVML lists no devices: {error}")
        boards: list[_Board] = []
        for index in range(count):
            handle, _ = self._attempt(self._nvml.nvmlDeviceGetHandleByIndex, index)
            model, memory = None, None
            if handle is not None:
                model, _ = self._attempt(self._nvml.nvmlDeviceGetName, handle)
                memory, _ = self._attempt(self._nvml.nvmlDeviceGetMemoryInfo, handle)
            total = int(memory.total) if memory is not None else 0
            boards.append(_Board(handle, f"gpu{index}", str(model or "NVIDIA GPU"), total))
        return boards

    def _describe(self, board: _Board, why_not: str) -> DeviceAdvert:
        readings: dict[str, Reading] = {}
        lost, throttle = "it cannot be opened", 0
        if board.handle is not None:
            lost = ""
            for name, field in self._fields().items():
                value, error = self._attempt(field.call, board.handle, *field.arguments)
                if error is not None and getattr(error, "value", 0) in _LOST_CODES:
                    lost, readings = str(error), {}
                    break
                if name == _THROTTLE:
                    throttle = int(value or 0)
                elif value is None:
                    readings[name] = unknown(field.unit, SOURCE, str(error))
                else:
                    readings[name] = Reading(float(field.convert(value)), field.unit, SOURCE)
        state, why = _state(lost, throttle, why_not)
        return DeviceAdvert(
            name=board.name,
            kind="cuda",
            model=board.model,
            state=state,
            slots=1,
            busy=0,
            memory_bytes=board.memory_bytes,
            why=why,
            readings=readings,
        )

    def _fields(self) -> dict[str, "_Field"]:
        nvml = self._nvml
        heat, clock = (nvml.NVML_TEMPERATURE_GPU,), (nvml.NVML_CLOCK_SM,)
        throttle = nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        return {
            _THROTTLE: _Field("count", throttle, (), float),
            "utilization": _Field(
                "ratio", nvml.nvmlDeviceGetUtilizationRates, (), lambda rates: rates.gpu / 100
            ),
            "memory_available": _Field(
                "bytes", nvml.nvmlDeviceGetMemoryInfo, (), lambda memory: memory.free
            ),
            "temperature": _Field("celsius", nvml.nvmlDeviceGetTemperature, heat, float),
            "power": _Field("watts", nvml.nvmlDeviceGetPowerUsage, (), _thousandth),
            "power_limit": _Field("watts", nvml.nvmlDeviceGetEnforcedPowerLimit, (), _thousandth),
            "energy": _Field("joules", nvml.nvmlDeviceGetTotalEnergyConsumption, (), _thousandth),
            "clock": _Field("hertz", nvml.nvmlDeviceGetClockInfo, clock, lambda mhz: mhz * 1e6),
        }

    def _attempt(self, call: Callable[..., Any], *arguments: object) -> tuple[Any, Any]:
        """Return (value, None) or (None, the NVML error)."""
        try:
            return call(*arguments), None
        except self._nvml.NVMLError as error:
            return None, error


@dataclass(frozen=True, slots=True)
class _Field:
    unit: str
    call: Callable[..., Any]
    arguments: tuple[object, ...]
    convert: Callable[[Any], float]


def open_nvml() -> tuple[Nvml | None, str]:
    """Return NVML ready to read, or None and why there is none; never raises.

    The second text is for people: it is shown by ``doctor``.
    """
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return None, f"no NVIDIA driver library ({LIBRARY}) on this machine"
    try:
        import pynvml  # noqa: PLC0415 - costs 17 MiB, so only where the library is
    except ImportError as error:
        return None, f"the NVML binding cannot be imported: {error}"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"the NVIDIA driver does not start: {error}"
    return Nvml(pynvml), ""


def _state(lost: str, throttle: int, why_not: str) -> tuple[DeviceState, str]:
    if lost:
        return DeviceState.LOST, lost
    if why_not:
        return DeviceState.QUARANTINED, why_not
    if throttle & _THERMAL_REASONS:
        return DeviceState.HOT, "it is throttled for heat"
    return DeviceState.WARMING, ""


def _thousandth(milli: float) -> float:
    return milli / 1000
