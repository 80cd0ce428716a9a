"""What ``run`` and ``map`` share: their options, the mesh they ask, how an interrupt ends."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from qallow_agent.base.units import show_seconds
from qallow_agent.cli.detach import detach
from qallow_agent.cli.inputs import Inputs, read_inputs
from qallow_agent.cli.kernels import open_catalog, parameter_shapes
from qallow_agent.cli.options import duration, json_option, socket_option
from qallow_agent.cli.output import emit, note
from qallow_agent.client.points import Grid
from qallow_agent.config.load import find_socket
from qallow_agent.jobs.messages import JobOptions, JobProgress

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_INTERRUPTED = 130
CONNECT_S = 10.0
_KINDS = ("any", "cpu", "gpu", "cuda")


class Outcome(Protocol):
    """The result of one point."""

    @property
    def index(self) -> int:
        """Which point, counted from 0."""
        ...

    @property
    def values(self) -> Mapping[str, Any]:
        """Every output by name."""
        ...

    @property
    def where(self) -> str:
        """``node-name/device``."""
        ...


class Slice(Protocol):
    """The results of consecutive points."""

    @property
    def start(self) -> int:
        """The first point, counted from 0."""
        ...

    @property
    def points(self) -> int:
        """How many."""
        ...

    @property
    def where(self) -> str:
        """``node-name/device``."""
        ...

    def arrays(self) -> Mapping[str, Any]:
        """Every output by name, each with a leading axis of points."""
        ...


class Sweep(Protocol):
    """A job of many points under way."""

    def blocks(self) -> Iterator[Slice]:
        """Yield the results as they come, a slice at a time; raise why there are no more."""
        ...

    def close(self) -> None:
        """Cancel what is left."""
        ...


class Pending(Protocol):
    """A job of one point under way."""

    @property
    def job(self) -> str:
        """Its id."""
        ...

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the result, or raise why there is none."""
        ...

    def cancel(self) -> bool:
        """Cancel it."""
        ...


class Workplace(Protocol):
    """The slice of a connected mesh that the command line uses."""

    def submit_alone(
        self, kernel: str, /, *, options: JobOptions | None = None, **params: Any
    ) -> Pending:
        """Start one evaluation; the agent judges its deadline."""
        ...

    def map(
        self,
        kernel: str,
        grid: Grid,
        /,
        *,
        ordered: bool = True,
        options: JobOptions | None = None,
        on_progress: Callable[[JobProgress], None] | None = None,
        **fixed: Any,
    ) -> Sweep:
        """Evaluate many points."""
        ...

    def close(self) -> None:
        """Leave the mesh."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """What a ``run`` or ``map`` command line asks for."""

    kernel: str
    inputs: Inputs
    options: JobOptions
    output: Path | None
    socket: str | None
    form: str


def work_options(function: Command) -> Command:
    """Give a command the options that every job takes."""
    decorators = (
        click.argument("kernel"),
        click.option("--set", "assignments", metavar="NAME=VALUE", multiple=True,
                     help="Set a parameter."),
        click.option("--params", "files", metavar="FILE", multiple=True,
                     type=click.Path(path_type=Path),
                     help="Parameters from a JSON, TOML, CSV, NPZ or Parquet file."),
        click.option("-o", "--output", metavar="DIR|FILE", type=click.Path(path_type=Path),
                     help="Write results.npz and summary.json to a folder, or the results to one "
                     "file: .csv, .npz or .parquet."),
        click.option("--format", "form", type=click.Choice(["table", "json", "csv"]),
                     default="table", help="What to print.", show_default=True),
        json_option,
        click.option("--timeout", "timeout_s", type=duration, metavar="DURATION", default=0.0,
                     help="The whole job must be done by then; default no limit."),
        click.option("--start-within", "start_s", type=duration, metavar="DURATION",
                     default=60.0, help="Wait this long for a first device. [default: 60s]"),
        click.option("--device", default="any", show_default=True, metavar="WHICH",
                     callback=_device, help="any, cpu, gpu, or node/device."),
        click.option("--prefer", type=click.Choice(["latency", "throughput", "energy"]),
                     default="throughput", show_default=True, help="What placement looks at."),
        click.option("--priority", type=int, default=0, help="Higher goes first; 0 is normal."),
        click.option("--retries", type=click.IntRange(0, 100), default=3, show_default=True,
                     help="Re-runs of a task whose machine was lost."),
        click.option("--key", default="", metavar="TEXT",
                     help="The same key again returns the same job."),
        click.option("--retain", is_flag=True, help="Keep the result for 'qallow-agent result'."),
        click.option("--checkpoint-every", "checkpoint_every", type=click.IntRange(1),
                     metavar="TICKS", help="Keep states of a long run this far apart, to go on "
                     "from or roll back to; retains the result."),
        click.option("--max-joules", "max_joules", type=click.FloatRange(0, min_open=True),
                     metavar="JOULES",
                     help="Stop when it has used more, gross; needs devices with a meter."),
        click.option("--verify", type=click.IntRange(1, 3), default=1, metavar="N",
                     help="Run each task on N devices, 2 or 3, and take what most answer."),
        click.option("--data", "data_class", default="public", show_default=True,
                     metavar="CLASS", help="What kind of data it works on, as policies name it."),
        click.option("--detach", "detached", is_flag=True, help="Run in the background."),
        socket_option,
    )  # fmt: skip
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def _device(_: click.Context, __: click.Parameter, wish: str) -> str:
    if wish not in _KINDS and not all(wish.partition("/")):
        raise click.BadParameter(
            f"{wish!r} is none of {', '.join(_KINDS)}, nor node/device as 'qallow-agent devices' "
            "shows them"
        )
    return wish


def read_order(kernel: str, flags: Mapping[str, Any], sweeps: Sequence[str] = ()) -> Order:
    """Return what a command line asks for, checked against the kernel when it is known here.

    Raises:
        UserError: An argument, a file or a parameter is wrong; nothing was submitted.
    """
    entry = open_catalog().entries.get(kernel)
    shapes = parameter_shapes(entry.kernel.spec) if entry else {}
    inputs = read_inputs(shapes, flags["assignments"], flags["files"], sweeps)
    if entry:
        scalars = {name: v for name, v in inputs.fixed.items() if not getattr(v, "ndim", 0)}
        arrays = {name: v.shape for name, v in inputs.fixed.items() if name not in scalars}
        extremes = inputs.extremes()
        entry.kernel.spec.validate(scalars, swept=extremes, shapes=arrays)
    options = JobOptions(
        deadline_s=flags["timeout_s"],
        start_s=flags["start_s"],
        retries=flags["retries"],
        device=flags["device"],
        prefer=flags["prefer"],
        priority=flags["priority"],
        idempotency_key=flags["key"],
        retain=flags["retain"] or bool(flags["checkpoint_every"]),
        max_joules=flags["max_joules"] or 0.0,
        verify=flags["verify"],
        data_class=flags["data_class"],
        checkpoint_every=flags["checkpoint_every"] or 0,
    )
    form = "json" if flags["as_json"] else flags["form"]
    return Order(kernel, inputs, options, flags["output"], flags["socket"], form)


def open_mesh(socket: str | None) -> Workplace:
    """Connect to the local agent.

    Raises:
        AgentUnreachable: No agent answers.
    """
    from qallow_agent.client.session import connect  # noqa: PLC0415 - brings zmq

    return connect(str(find_socket(socket)), CONNECT_S)


def go_background(output: Path | None, *, as_json: bool) -> None:
    """Start this very command in the background and say how to follow it.

    Raises:
        UsageError: Nowhere to leave the results.
    """
    pid, log, job = detach(sys.argv[1:], output)
    if as_json:
        emit("qallow.detached/v1", {"pid": pid, "log": str(log), "job": job or None})
        return
    click.echo(f"job {job} (process {pid})" if job else f"process {pid}; its log will name the job")
    note(f"'qallow-agent jobs' shows how far it is, {log} what it says")


class JobName:
    """Says the id of a job once it is known, so that others can look at it or cancel it."""

    def __init__(self) -> None:
        self.job = ""

    def learn(self, job: str) -> None:
        """Take in the id; only the first time is it said."""
        if job and not self.job:
            self.job = job
            note(f"job {job}")


def end_like_an_interrupt() -> None:
    """Let a closed terminal and SIGTERM end a job as Ctrl-C does: what is finished is kept.

    Whoever sends either of them sends it twice now and then, so that only the first one counts.
    """

    def interrupt(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, interrupt)


def leave_on_next_interrupt() -> None:
    """Let a second Ctrl-C end the process at once, without waiting for anything."""

    def leave(*_: object) -> None:
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, leave)


def say_cancelled(job: str, done: int, points: int, elapsed_s: float) -> None:
    """Say what a Ctrl-C ended and what is left of it."""
    name = f"job {job}" if job else "the job"
    note(
        f"cancelled {name} after {show_seconds(elapsed_s)}: {done:,} of {points:,} points were done"
    )
