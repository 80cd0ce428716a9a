"""The workshop: one task in, its result or its fault out. The boundary that contains kernels."""

import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import zmq
from numpy.typing import NDArray

from qallow_agent.base.errors import (
    BadParameter,
    DeviceLost,
    DeviceMemory,
    KernelFailed,
    QallowError,
)
from qallow_agent.base.units import show_bytes
from qallow_agent.jobs.local import CanaryDone
from qallow_agent.jobs.parcels import ITEM_BYTES, ArrayHead, Fault, ResultHead, TaskHead
from qallow_agent.kernels.backends import Backend, backend_for
from qallow_agent.kernels.execution import run_canary, run_task
from qallow_agent.kernels.registry import Catalog
from qallow_agent.kernels.spec import Kernel
from qallow_agent.runtime.multipart import Sendable
from qallow_agent.runtime.plugins import Attachment

Array = NDArray[Any]

COPY_BELOW_BYTES: Final = 64 << 10
"""Smaller arrays are cheaper to copy than to share with ZeroMQ's thread (its own threshold)."""

_NONE: Final[dict[str, Array]] = {}
_FENCED: Final = (
    "kernels read system files and Python only, write temporary files and have no network; "
    "see runners.read_paths and runners.network on that node"
)
_TRACEBACK_CHARS: Final = 8_000
_MESSAGE_CHARS: Final = 2_000


class Workshop:
    """Runs tasks of the catalog's kernels on one device.

    Args:
        catalog: The kernels of this runner.
        kind: The kind of its device (``cpu``, ``cuda``, ...): says which backend is wanted.
        allowance_bytes: What the runner may take, for the explanation of a MemoryError.
        guest: The plug-in's device that computes, if it is one.
    """

    def __init__(
        self, catalog: Catalog, kind: str, allowance_bytes: int, guest: Attachment | None = None
    ) -> None:
        self._catalog = catalog
        self._kind = kind
        self._allowance_bytes = allowance_bytes
        self._guest = guest
        self._chosen: dict[str, tuple[Kernel, str | Backend]] = {}
        self.lost = False
        """Whether the device failed: what a driver left behind spoils every later task."""
        self._last_ops: tuple[str, dict[str, Any], float] = ("", {}, 0.0)

    def run(
        self, kernel_name: str, task: TaskHead, frames: Sequence[zmq.Frame]
    ) -> tuple[ResultHead, list[Sendable]]:
        """Run a task on the arrays of its frames; return its outcome and the frames to send.

        Never raises: whatever a kernel does short of ending the process becomes a fault.
        """
        began_s = time.monotonic()
        try:
            kernel, backend = self._chosen.get(kernel_name) or self._choose(kernel_name)
            if frames:
                count = len(task.columns)
                columns = _arrays(task.columns, frames[:count])
                arrays = _arrays(task.arrays, frames[count:])
                outputs = run_task(kernel, backend, task.scalars, columns, arrays)
            else:
                outputs = run_task(kernel, backend, task.scalars, _NONE, _NONE)
            heads, buffers = _pack(outputs)
        except BaseException as error:  # noqa: BLE001 - foreign code: sys.exit() in it is no exit of ours
            fault = self._explain(error)
            seconds = time.monotonic() - began_s
            return ResultHead(task.number, task.attempt, seconds, (), fault), []
        seconds = time.monotonic() - began_s
        return ResultHead(task.number, task.attempt, seconds, heads), buffers

    def canary(self, kernel_name: str) -> CanaryDone:
        """Run a kernel's known-answer test, after what a plug-in's device says of itself."""
        try:
            trouble = "" if self._guest is None else self._guest.canary()
            if trouble:
                why = _clean(trouble)[:_MESSAGE_CHARS]
                return CanaryDone(kernel_name, passed=False, why=why)
            kernel, backend = self._choose(kernel_name)
            outcome = run_canary(kernel, backend, time.monotonic)
        except BaseException as error:  # noqa: BLE001 - foreign code again
            fault = self._explain(error)
            why, hint = fault.message[:_MESSAGE_CHARS], fault.hint[:_MESSAGE_CHARS]
            return CanaryDone(kernel_name, passed=False, why=why, hint=hint)
        why, hint = _clean(outcome.why)[:_MESSAGE_CHARS], _clean(outcome.hint)[:_MESSAGE_CHARS]
        return CanaryDone(kernel_name, outcome.passed, why, outcome.seconds, outcome.rate, hint)

    def ops(self, kernel_name: str, task: TaskHead) -> float:
        """Return the operations a finished task took, as its kernel declares them."""
        name, scalars, ops = self._last_ops
        if name != kernel_name or scalars != task.scalars:
            ops = _declared_ops(self._catalog, kernel_name, task.scalars)
            self._last_ops = (kernel_name, task.scalars, ops)
        return ops * max(task.points, 1)

    def _choose(self, kernel_name: str) -> tuple[Kernel, str | Backend]:
        kernel = self._catalog.get(kernel_name)
        backend = (
            backend_for(kernel, self._kind)
            if self._guest is None
            else self._guest.backend(kernel_name)
        )
        chosen = (kernel, backend)
        self._chosen[kernel_name] = chosen
        return chosen

    def _explain(self, error: BaseException) -> Fault:
        self.lost = self.lost or isinstance(error, DeviceLost)
        if isinstance(error, MemoryError):
            allowed = show_bytes(self._allowance_bytes)
            return Fault(
                DeviceMemory.code,
                f"the task needs more memory than a runner may take ({allowed}): {_line(error)}",
                hint="make the task smaller, or raise runners.memory_bytes on that node",
            )
        if isinstance(error, QallowError):
            told = "" if isinstance(error, BadParameter) else _trace(error)
            hint = _FENCED if isinstance(error.__cause__, PermissionError) else _clean(error.hint)
            return Fault(error.code, _clean(error.message), hint, told)
        return Fault(KernelFailed.code, f"the kernel raised {_line(error)}", "", _trace(error))


def _declared_ops(catalog: Catalog, kernel_name: str, scalars: Mapping[str, Any]) -> float:
    """Return what one point costs; parameters that decide it are scalars or have defaults."""
    try:
        spec = catalog.get(kernel_name).spec
        values = {item.name: scalars.get(item.name, item.default) for item in spec.parameters}
        return spec.cost({name: value or 0 for name, value in values.items()}).ops
    except (QallowError, ArithmeticError, LookupError, TypeError, ValueError):
        return 0.0  # a declared cost that fails must not fail the work it describes


def _arrays(heads: Sequence[ArrayHead], frames: Sequence[zmq.Frame]) -> dict[str, Array]:
    """Return the arrays of some checked frames, without a copy where memory is aligned."""
    arrays: dict[str, Array] = {}
    for head, frame in zip(heads, frames, strict=True):
        array = np.frombuffer(frame.buffer, dtype="<" + head.dtype).reshape(head.shape)
        arrays[head.name] = array if array.flags.aligned else array.copy()
    return arrays


def _pack(outputs: dict[str, Array]) -> tuple[tuple[ArrayHead, ...], list[Sendable]]:
    heads: list[ArrayHead] = []
    buffers: list[Sendable] = []
    for name, array in outputs.items():
        code = array.dtype.str[1:]
        if code not in ITEM_BYTES:
            raise KernelFailed(f"output {name!r} has dtype {array.dtype}, which cannot travel")
        heads.append(ArrayHead(name, code, array.shape))
        small = array.nbytes < COPY_BELOW_BYTES
        buffers.append(array.tobytes() if small else np.ascontiguousarray(array).data)
    return tuple(heads), buffers


def _line(error: BaseException) -> str:
    lines = traceback.format_exception_only(error)
    return _clean(lines[-1].strip())[:_MESSAGE_CHARS]


def _trace(error: BaseException) -> str:
    return _clean("".join(traceback.format_exception(error)))[-_TRACEBACK_CHARS:]


def _clean(text: str) -> str:
    """Return text that UTF-8 can carry: a lone surrogate in it would break the whole parcel."""
    return text.encode(errors="backslashreplace").decode()
