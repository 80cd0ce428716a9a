"""One run in stages: when its state is kept, how it is continued from a state that was kept.

A checkpoint may be taken after every so many ticks, the *grain*; each such place is an *epoch*.
Most epochs pass unkept: keeping one costs time, and a run shall lose little of it. So the clock
decides which ones are kept, and never what comes out.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import CheckpointCorrupt
from qallow_agent.kernels.backends import Stage
from qallow_agent.kernels.execution import run_one
from qallow_agent.kernels.spec import Kernel
from qallow_agent.kernels.state import (
    Checkpoint,
    Section,
    blob_digest,
    checkpoint_name,
    decode_checkpoint,
    encode_checkpoint,
)
from qallow_agent.kernels.values import Scalar

Array = npt.NDArray[Any]
State = dict[str, Array]

GRAIN_TICKS: Final = 1_000
"""Ticks of an epoch where nobody asks for others."""

PAUSE_S: Final = 1.0
"""A run that is over sooner keeps nothing; a longer one loses about as much with its machine."""

SHARE: Final = 10
"""Keeping a state may take one part in so many of the time, whatever is asked."""

LEAST_S: Final = 0.02
"""Nobody needs more than fifty states a second."""

BYTES_PER_S: Final = 20e6
"""What checkpoints may take of the way to the submitter, on the whole."""

MOST_BYTES: Final = 256 << 20
"""A larger state is not kept: what it saves is not worth its way."""

_GROWTH: Final = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is cut.

    Args:
        grain: Ticks of an epoch.
        pause_s: Least seconds between two that are kept.
        kernel_hash: Which kernel it is, for those who continue it.
        parents: What the run follows from in the causal graph of its job.
    """

    grain: int
    pause_s: float
    kernel_hash: str
    parents: tuple[str, ...] = ()


class Pace:
    """Says how far to go before the next look at the clock, and whether to keep the state then.

    Args:
        grain: Ticks of an epoch.
        pause_s: Least seconds between two that are kept.
        clock: Monotonic seconds.
    """

    def __init__(self, grain: int, pause_s: float, clock: Callable[[], float]) -> None:
        self._grain = grain
        self._pause_s = self._wait_s = pause_s
        self._clock = clock
        self._kept_s = self._looked_s = clock()
        self._epochs = 1.0
        self._rate = 0.0

    def stop(self, tick: int, ticks: int) -> int:
        """Return the tick to go to: where an epoch ends, about when the next one is to be kept."""
        left_s = self._kept_s + self._wait_s - self._looked_s
        wanted = self._rate * left_s
        self._epochs = max(1.0, min(wanted, self._epochs * _GROWTH))
        return min((tick // self._grain + int(self._epochs)) * self._grain, ticks)

    def went(self, ticks: int) -> bool:
        """Take in that so many ticks are done; return whether the state should be kept now."""
        now = self._clock()
        took_s = now - self._looked_s
        self._looked_s = now
        self._rate = ticks / self._grain / took_s if took_s > 0 else math.inf
        return now >= self._kept_s + self._wait_s

    def kept(self, size_bytes: int) -> None:
        """Take in that the state was kept: the next time is the later, the longer that took."""
        now = self._clock()
        cost_s = max(now - self._looked_s, size_bytes / BYTES_PER_S / SHARE)
        self._wait_s = max(self._pause_s, SHARE * cost_s, LEAST_S)
        self._kept_s = self._looked_s = now


def run_staged(
    kernel: Kernel,
    stage: Stage,
    scalars: Mapping[str, Scalar],
    plan: Plan,
    *,
    since: bytes = b"",
    keep: Callable[[bytes], object],
    clock: Callable[[], float],
) -> dict[str, Array]:
    """Return every output of one run, bit-equal to those of the run in one go.

    Args:
        kernel: What to run.
        stage: How one of its backends runs in stages.
        scalars: Its parameters.
        plan: How it is cut.
        since: The blob from which to continue; empty to begin.
        keep: Takes the blob of a state.
        clock: Monotonic seconds.

    Raises:
        CheckpointCorrupt: What to continue is damaged, or of another kernel or other parameters.
        QallowError: As :func:`~qallow_agent.kernels.execution.run_task`.
    """

    def work(given: Mapping[str, Any]) -> dict[str, Any]:
        ticks = int(given[kernel.stages.ticks]) if kernel.stages else 0
        state = stage.begin(**given)
        tick, previous = 0, ""
        if since:
            found = decode_checkpoint(since, kernel_hash=plan.kernel_hash)
            _restore(state, found, scalars, ticks)
            tick, previous = found.tick, blob_digest(since)
        pace = Pace(plan.grain, plan.pause_s, clock)
        while tick < ticks:
            stop = pace.stop(tick, ticks)
            stage.advance(state, tick, stop, **given)
            done, tick = stop - tick, stop
            if pace.went(done) and tick < ticks:
                size = sum(array.nbytes for array in state.values())
                if size <= MOST_BYTES:
                    blob = _blob(state, tick, previous, plan, scalars)
                    previous = blob_digest(blob)
                    keep(blob)
                pace.kept(size)
        return stage.outputs(state, **given)

    return run_one(kernel, scalars, work)


def _blob(
    state: State, tick: int, previous: str, plan: Plan, scalars: Mapping[str, Scalar]
) -> bytes:
    sections = tuple(
        Section(name, array.dtype.str[1:], array.shape, array.tobytes())
        for name, array in state.items()
    )
    epoch = tick // plan.grain
    parents = (*plan.parents, checkpoint_name(previous)) if previous else plan.parents
    return encode_checkpoint(
        Checkpoint(plan.kernel_hash, tick, previous, sections, epoch, parents, scalars)
    )


def _restore(state: State, since: Checkpoint, scalars: Mapping[str, Scalar], ticks: int) -> None:
    """Fill a state of the right shape from a checkpoint, all or nothing."""
    if not 0 < since.tick < ticks or dict(since.scalars) != dict(scalars):
        raise CheckpointCorrupt(
            f"the checkpoint at tick {since.tick} is of a run with other parameters",
            hint="continue it with the parameters it was begun with",
        )
    wanted = {(name, array.dtype.str[1:], array.shape) for name, array in state.items()}
    found = {(section.name, section.dtype, section.shape) for section in since.sections}
    if wanted != found or len(since.sections) != len(state):
        raise CheckpointCorrupt(f"the checkpoint at tick {since.tick} is no state of this kernel")
    for section in since.sections:
        array = state[section.name]
        array[...] = np.frombuffer(section.data, array.dtype).reshape(array.shape)
