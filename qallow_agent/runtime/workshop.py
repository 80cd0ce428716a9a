"""The workshop: one task in, its result or its fault out. The boundary that contains kernels."""

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from msgspec import structs
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
from qallow_agent.jobs.manifest import Buffer, Layout, join_small, layout, padded
from qallow_agent.jobs.parcels import (
    CHUNK_BYTES,
    ITEM_BYTES,
    SMALL_BYTES,
    STATE,
    ArrayHead,
    Fault,
    Room,
    TaskHead,
)
from qallow_agent.kernels.backends import Backend, Stage, backend_for, load_stage
from qallow_agent.kernels.execution import run_canary, run_task
from qallow_agent.kernels.registry import Catalog
from qallow_agent.kernels.spec import Kernel
from qallow_agent.kernels.staging import GRAIN_TICKS, PAUSE_S, Plan, run_staged
from qallow_agent.kernels.state import tick_of
from qallow_agent.runtime.plugins import Attachment

Array = NDArray[Any]

_NONE: Final[dict[str, Array]] = {}
_FENCED: Final = (
    "kernels read system files and Python only, write temporary files and have no network; "
    "see runners.read_paths and runners.network on that node"
)
_TRACEBACK_CHARS: Final = 8_000
_MESSAGE_CHARS: Final = 2_000
_MOST_PLANS: Final = 256
_NOTHING: Final = layout(())
_LONG_OPS: Final = 1e9
"""About a second of a slow core: a task of fewer operations is run again rather than continued."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task.

    Args:
        seconds: How long it took.
        plan: How its outputs lie in the parcel.
        small: Its small outputs.
        own: Outputs with a frame of their own.
        apart: Outputs that travel before the parcel, under these names.
        fault: Why there are none.
        share: Which part of the task was done here; less than all when it went on from a state.
    """

    seconds: float
    plan: Layout = _NOTHING
    small: bytes = b""
    own: tuple[memoryview, ...] = ()
    apart: tuple[tuple[bytes, memoryview], ...] = ()
    fault: Fault | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """What is wanted of the states of long runs.

    Args:
        every: Ticks between those to keep; 0 for a default, and none of short runs.
        lease: Under which they run.
        keep: Takes the blob of a state.
    """

    every: int
    lease: str
    keep: Callable[[TaskHead, bytes], object]


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
        self._stages: dict[str, Stage] = {}
        """How those kernels of them that can be cut run in stages."""
        self.lost = False
        """Whether the device failed: what a driver left behind spoils every later task."""
        self._last_ops: tuple[str, dict[str, Any], float] = ("", {}, 0.0)
        self._plans: dict[tuple[Any, ...], Layout] = {}
        self._named = 0

    def run(
        self,
        kernel_name: str,
        task: TaskHead,
        parts: Iterable[Buffer],
        room: memoryview | None = None,
        cut: Cut | None = None,
    ) -> Done:
        """Run a task and return its outcome as it travels.

        Never raises: whatever a kernel does short of ending the process becomes a fault.

        Args:
            kernel_name: Which kernel.
            task: What to run.
            parts: The bytes of its arrays, checked against their heads.
            room: Shared memory for large outputs, at the place that ``task.room`` names.
            cut: What is wanted of the states of a long run, if they are.
        """
        began_s = time.monotonic()
        try:
            kernel, backend = self._chosen.get(kernel_name) or self._choose(kernel_name)
            stage = self._stages.get(kernel_name)
            if stage is not None and cut is not None and self._long(kernel_name, task, cut):
                since = b"".join(parts)
                outputs = self._run_long(kernel, stage, task, since, cut)
                done = self._pack(kernel_name, outputs, began_s, task.room, room)
                return replace(done, share=_share(kernel, task, since))
            if stage is None and [head.name for head in task.arrays] == [STATE]:
                # This device cannot go on from a state: it does all of it, and comes to the same.
                task = structs.replace(task, arrays=())
            if task.columns or task.arrays:
                buffers = iter(parts)
                columns = {head.name: _array(head, next(buffers)) for head in task.columns}
                arrays = {head.name: _array(head, next(buffers)) for head in task.arrays}
                for array in arrays.values():
                    array.flags.writeable = False  # further tasks may name the same memory
                outputs = run_task(kernel, backend, task.scalars, columns, arrays)
            else:
                outputs = run_task(kernel, backend, task.scalars, _NONE, _NONE)
            return self._pack(kernel_name, outputs, began_s, task.room, room)
        except BaseException as error:  # noqa: BLE001 - foreign code: sys.exit() in it is no exit of ours
            fault = self._explain(error)
            return Done(time.monotonic() - began_s, fault=fault)

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

    def _long(self, kernel_name: str, task: TaskHead, cut: Cut) -> bool:
        """Return whether a task continues, or runs long enough to be continued one day."""
        if task.columns or task.arrays:
            return [head.name for head in task.arrays] == [STATE]
        return cut.every > 0 or self.ops(kernel_name, task) > _LONG_OPS

    def _run_long(
        self, kernel: Kernel, stage: Stage, task: TaskHead, since: bytes, cut: Cut
    ) -> dict[str, Array]:
        plan = Plan(
            grain=max(1, cut.every or GRAIN_TICKS),
            pause_s=0.0 if cut.every else PAUSE_S,
            kernel_hash=self._catalog.entry(kernel.spec.name).hash,
            parents=(f"attempt:{cut.lease}/{task.number}.{task.attempt}",),
        )
        return run_staged(
            kernel, stage, task.scalars, plan,
            since=since, keep=lambda blob: cut.keep(task, blob), clock=time.monotonic,
        )  # fmt: skip

    def _pack(
        self,
        kernel_name: str,
        outputs: dict[str, Array],
        began_s: float,
        place: Room | None,
        room: memoryview | None,
    ) -> Done:
        arrays = list(outputs.values())
        if max([array.nbytes for array in arrays], default=0) < SMALL_BYTES:
            key = (kernel_name, *[array.shape for array in arrays])
            plan = self._plans.get(key) or self._plan(key, outputs)
            small = join_small(plan, [array.tobytes() for array in arrays])
            return Done(time.monotonic() - began_s, plan, small)
        heads: list[ArrayHead] = []
        pieces: list[bytes] = []
        own: list[memoryview] = []
        apart: list[tuple[bytes, memoryview]] = []
        used = 0
        for head, array in zip(_heads(outputs), arrays, strict=True):
            data = np.ascontiguousarray(array).reshape(-1).view("u1").data
            if len(data) < SMALL_BYTES:
                pieces.append(bytes(data))
            elif place is not None and room is not None and used + len(data) <= len(room):
                np.copyto(np.frombuffer(room, "u1", len(data), used), data)
                head = structs.replace(head, hold=place.hold, offset=place.offset + used)  # noqa: PLW2901
                used = padded(used + len(data))
            elif len(data) > CHUNK_BYTES:
                self._named += 1
                name = self._named.to_bytes(8, "little")
                apart.append((name, data))
                head = structs.replace(head, hold=name)  # noqa: PLW2901
            else:
                own.append(data)
            heads.append(head)
        plan = layout(tuple(heads))
        small = join_small(plan, pieces)
        return Done(time.monotonic() - began_s, plan, small, tuple(own), tuple(apart))

    def _plan(self, key: tuple[Any, ...], outputs: dict[str, Array]) -> Layout:
        """Return how small outputs of these shapes lie; a kernel's dtypes are always the same."""
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        plan = self._plans[key] = layout(_heads(outputs))
        return plan

    def _choose(self, kernel_name: str) -> tuple[Kernel, str | Backend]:
        kernel = self._catalog.get(kernel_name)
        backend = (
            backend_for(kernel, self._kind)
            if self._guest is None
            else self._guest.backend(kernel_name)
        )
        stage = load_stage(kernel, backend) if isinstance(backend, str) else None
        if stage is not None:
            self._stages[kernel_name] = stage
        chosen = (kernel, backend)
        self._chosen[kernel_name] = chosen
        return chosen

    def _explain(self, error: BaseException) -> Fault:
        self.lost = self.lost or isinstance(error, DeviceLost)
        short = error if isinstance(error, MemoryError) else error.__cause__
        if isinstance(short, MemoryError):
            allowed = show_bytes(self._allowance_bytes)
            return Fault(
                DeviceMemory.code,
                f"the task ran out of memory: a runner may take {allowed} here; {_line(short)}",
                hint="smaller tasks, a larger device, or more runners.memory_bytes on that node",
            )
        if isinstance(error, QallowError):
            told = "" if isinstance(error, BadParameter) else _trace(error)
            hint = _FENCED if isinstance(error.__cause__, PermissionError) else _clean(error.hint)
            return Fault(error.code, _clean(error.message), hint, told)
        return Fault(KernelFailed.code, f"the kernel raised {_line(error)}", "", _trace(error))


def _share(kernel: Kernel, task: TaskHead, since: bytes) -> float:
    """Return which part of a run was left when it went on from a state."""
    if not since or kernel.stages is None:
        return 1.0
    ticks = int(task.scalars.get(kernel.stages.ticks, 0))
    return 1.0 - tick_of(since) / ticks if ticks else 1.0


def _declared_ops(catalog: Catalog, kernel_name: str, scalars: Mapping[str, Any]) -> float:
    """Return what one point costs; parameters that decide it are scalars or have defaults."""
    try:
        spec = catalog.get(kernel_name).spec
        values = {item.name: scalars.get(item.name, item.default) for item in spec.parameters}
        return spec.cost({name: value or 0 for name, value in values.items()}).ops
    except (QallowError, ArithmeticError, LookupError, TypeError, ValueError):
        return 0.0  # a declared cost that fails must not fail the work it describes


def _array(head: ArrayHead, data: Buffer) -> Array:
    """Return some checked bytes as an array, without a copy where memory is aligned."""
    array: Array = np.frombuffer(data, dtype="<" + head.dtype).reshape(head.shape)
    return array if array.flags.aligned else array.copy()


def _heads(outputs: dict[str, Array]) -> tuple[ArrayHead, ...]:
    heads: list[ArrayHead] = []
    for name, array in outputs.items():
        code = array.dtype.str[1:]
        if code not in ITEM_BYTES:
            raise KernelFailed(f"output {name!r} has dtype {array.dtype}, which cannot travel")
        heads.append(ArrayHead(name, code, array.shape))
    return tuple(heads)


def _line(error: BaseException) -> str:
    lines = traceback.format_exception_only(error)
    return _clean(lines[-1].strip())[:_MESSAGE_CHARS]


def _trace(error: BaseException) -> str:
    return _clean("".join(traceback.format_exception(error)))[-_TRACEBACK_CHARS:]


def _clean(text: str) -> str:
    """Return text that UTF-8 can carry: a lone surrogate in it would break the whole parcel."""
    return text.encode(errors="backslashreplace").decode()
