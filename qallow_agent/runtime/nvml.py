"""NVIDIA GPUs through NVML: the one door to its binding. A machine without is normal.

The module ``pynvml`` costs 17 MiB and 70 ms, so the driver's library is looked for first and the
binding imported only where it loads.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from qallow_agent.base.complaint import NOTHING, Complaint
from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.sensing.kin import is_ours
from qallow_agent.runtime.sensing.nvml_board import NvmlBoard, Sight

LIBRARY = "libnvidia-ml.so.1"
_NO_PERMISSION = 4
_NO_ACCESS_FIX = (
    "let the agent's user into the group that may open /dev/nvidia*, and containers and services "
    "see the devices"
)
_NO_DRIVER_FIX = (
    "'nvidia-smi' says more; load the driver (modprobe nvidia) or reboot after an update"
)


@dataclass(frozen=True, slots=True)
class Board:
    """One GPU with its reader."""

    name: str
    model: str
    memory_bytes: int
    reader: NvmlBoard


class Nvml:
    """The GPUs of this machine, as NVML tells them.

    Args:
        binding: The module ``pynvml``, initialised.
        kin: Whether a process belongs to this agent.
    """

    def __init__(self, binding: ModuleType, kin: Callable[[int], bool] = is_ours) -> None:
        self._nvml = binding
        self._kin = kin
        self._boards: list[Board] | None = None

    def read(self, now_s: Seconds) -> tuple[tuple[Board, Sight], ...]:
        """Return every GPU and how it is.

        Raises:
            DeviceLost: The library itself stopped answering; open it anew later.
        """
        if self._boards is None:
            self._boards = self._list()
        return tuple((board, board.reader.read(now_s)) for board in self._boards)

    def close(self) -> None:
        """Let go of the library."""
        for board in self._boards or ():
            board.reader.close()
        self._attempt(self._nvml.nvmlShutdown)

    def _list(self) -> list[Board]:
        count, error = self._attempt(self._nvml.nvmlDeviceGetCount)
        if count is None:
            raise DeviceLost(f"NVML lists no devices: {error}", hint=_NO_DRIVER_FIX)
        boards: list[Board] = []
        for index in range(count):
            handle, _ = self._attempt(self._nvml.nvmlDeviceGetHandleByIndex, index)
            model, memory = None, None
            if handle is not None:
                model, _ = self._attempt(self._nvml.nvmlDeviceGetName, handle)
                memory, _ = self._attempt(self._nvml.nvmlDeviceGetMemoryInfo, handle)
            total = int(memory.total) if memory is not None else 0
            reader = NvmlBoard(self._nvml, handle, total, self._kin)
            boards.append(Board(f"gpu{index}", str(model or "NVIDIA GPU"), total, reader))
        return boards

    def _attempt(self, call: Callable[..., Any], *arguments: object) -> tuple[Any, Any]:
        """Return (value, None) or (None, the NVML error)."""
        try:
            return call(*arguments), None
        except self._nvml.NVMLError as error:
            return None, error


def open_nvml() -> tuple[Nvml | None, Complaint]:
    """Return NVML ready to read, or None and why there is none; never raises.

    A machine without a driver's library has no fix for that: it has no NVIDIA GPU.
    """
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return None, Complaint(f"no NVIDIA driver library ({LIBRARY}) on this machine")
    try:
        import pynvml  # noqa: PLC0415 - costs 17 MiB, so only where the library is
    except ImportError as error:
        why = f"the NVML binding cannot be imported: {error}"
        return None, Complaint(why, "pip install --force-reinstall nvidia-ml-py")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        fix = _NO_ACCESS_FIX if error.value == _NO_PERMISSION else _NO_DRIVER_FIX
        return None, Complaint(f"the NVIDIA driver does not start: {error}", fix)
    return Nvml(pynvml), NOTHING
