"""``map``: one kernel over many points, spread over the mesh."""

from collections.abc import Mapping
from typing import Any

import click

from qallow_agent.base.errors import EXIT_OK, JobCancelled, QallowError, UsageError
from qallow_agent.base.units import show_seconds
from qallow_agent.cli.deliver import deliver, folder_of, open_output, save_table
from qallow_agent.cli.joules import SETTLE_S, describe, spent
from qallow_agent.cli.output import emit, note, pairs
from qallow_agent.cli.show import few, inline, print_csv, say_left_out, show_points
from qallow_agent.cli.work import (
    EXIT_INTERRUPTED,
    JobName,
    Order,
    Workplace,
    end_like_an_interrupt,
    go_background,
    leave_on_next_interrupt,
    open_mesh,
    read_order,
    say_cancelled,
    work_options,
)
from qallow_agent.client.harvest import Harvest
from qallow_agent.client.progress import ProgressLine
from qallow_agent.client.tables import table_of
from qallow_agent.jobs.messages import JobProgress


@click.command(
    "map",
    epilog="Example: qallow-agent map harmonic --sweep coupling=0.0001:0.005:1000 "
    "--set pockets=32 --set ticks=400 -o out/",
)
@click.option(
    "--sweep",
    "sweeps",
    metavar="NAME=START:STOP:COUNT",
    multiple=True,
    help="Sweep a parameter; also NAME=log:START:STOP:COUNT or NAME=1,2,5. Several make a grid.",
)
@work_options
def map_(kernel: str, sweeps: tuple[str, ...], **flags: Any) -> int:
    """Run a kernel over every point of a sweep or of a file's columns."""
    order = read_order(kernel, flags, sweeps)
    if not order.inputs.columns and not order.inputs.sweeps:
        raise UsageError("nothing is swept", hint="give --sweep, a file with columns, or use 'run'")
    if order.output is not None:
        open_output(order.output)
    if flags["detached"]:
        go_background(order.output, as_json=order.form == "json")
        return EXIT_OK
    end_like_an_interrupt()
    mesh = open_mesh(order.socket)
    try:
        return Survey(order).carry_out(mesh)
    finally:
        mesh.close()


class Survey:
    """One map under way: what came back, from where, and what is said about it.

    Args:
        order: What the command line asked for.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        spool = None if order.output is None else folder_of(order.output)
        self._harvest = Harvest(order.inputs.points, spool)
        self._line = ProgressLine(order.kernel, order.inputs.points)
        self._name = JobName()
        self._failed = 0
        self._rerun = 0

    def carry_out(self, mesh: Workplace) -> int:
        """Run the map to its end, write and show the results; return the exit code.

        Finished points are kept and written also when the job is cancelled or fails.

        Raises:
            QallowError: Why the job failed.
        """
        order = self._order
        sweep = mesh.map(
            order.kernel,
            order.inputs.grid(),
            ordered=False,
            options=order.options,
            on_progress=self._progress,
            **order.inputs.fixed,
        )
        try:
            for block in sweep.blocks():
                self._harvest.add(block.start, block.points, block.arrays(), block.where)
                self._line.show(self._harvest.count, self._failed, self._rerun)
        except KeyboardInterrupt:
            leave_on_next_interrupt()
            sweep.close()
            self._finish("cancelled")
            say_cancelled(
                self._name.job, self._harvest.count, order.inputs.points, self._line.elapsed_s
            )
            return EXIT_INTERRUPTED
        except QallowError as error:
            self._finish("cancelled" if isinstance(error, JobCancelled) else "failed", error)
            raise
        self._finish("succeeded")
        return EXIT_OK

    def _progress(self, progress: JobProgress) -> None:
        self._name.learn(progress.job)
        self._failed, self._rerun = progress.failed, progress.rerun
        self._line.show(max(progress.done, self._harvest.count), self._failed, self._rerun)

    def _finish(self, state: str, error: QallowError | None = None) -> None:
        self._line.end()
        order, seconds = self._order, self._line.elapsed_s
        points = table_of(self._harvest, order.inputs.at)
        summary = self._summary(state, seconds, error)
        if order.output is not None and self._harvest.count:
            files, left_out = deliver(order.output, save_table(points), summary)
            for path in files:
                note(f"wrote {path}")
            say_left_out(left_out)
        if order.form == "json":
            emit("qallow.map/v1", summary | {"values": few(points)})
        elif order.form == "csv":
            print_csv(points)
        else:
            if order.output is None:
                show_points(points)
            _say(summary)

    def _summary(self, state: str, seconds: float, error: QallowError | None) -> dict[str, Any]:
        inputs, done = self._order.inputs, self._harvest.count
        return {
            "schema": "qallow.map/v1",
            "kernel": self._order.kernel,
            "job": self._name.job,
            "state": state,
            "error": error.message if error else "",
            "parameters": inline(inputs.fixed),
            "swept": {
                name: {"least": least, "greatest": greatest}
                for name, (least, greatest) in inputs.extremes().items()
            },
            "points": inputs.points,
            "done": done,
            "failed": self._failed,
            "rerun": self._rerun,
            "seconds": seconds,
            "rate_per_s": done / seconds if seconds > 0 else 0.0,
            "share": dict(sorted(self._harvest.where.items())),
            "energy": self._energy(),
        }

    def _energy(self) -> dict[str, Any] | None:
        """Return what the job used; a record on disk is worth waiting for the last of it."""
        if not self._name.job:
            return None
        patience_s = 0.0 if self._order.output is None else SETTLE_S
        return spent(self._order.socket, self._name.job, patience_s)


def _say(summary: Mapping[str, Any]) -> None:
    done, points, seconds = summary["done"], summary["points"], summary["seconds"]
    text = f"{done:,} of {points:,} points in {show_seconds(seconds)}"
    rows = [("done", f"{text}, {summary['rate_per_s']:,.0f}/s")]
    if summary["failed"] or summary["rerun"]:
        rows.append(("trouble", f"{summary['failed']:,} failed, {summary['rerun']:,} re-run"))
    for place, count in summary["share"].items():
        rows.append((place, f"{count:,} points ({count / max(done, 1):.0%})"))
    if summary["energy"]:
        rows += describe(summary["energy"])
    pairs(rows)
