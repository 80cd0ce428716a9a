"""``run``: one evaluation of a kernel, wherever the mesh puts it."""

import time
from typing import Any

import click
import numpy as np

from qallow_agent.base.errors import EXIT_OK, QallowError, UsageError
from qallow_agent.base.units import show_seconds
from qallow_agent.cli.deliver import deliver, open_output, save_single, single_row
from qallow_agent.cli.output import emit, note
from qallow_agent.cli.show import inline, print_csv, say_left_out, show_outputs
from qallow_agent.cli.work import (
    EXIT_INTERRUPTED,
    JobName,
    Order,
    Outcome,
    Pending,
    Workplace,
    end_like_an_interrupt,
    go_background,
    leave_on_next_interrupt,
    open_mesh,
    read_order,
    say_cancelled,
    work_options,
)

_LONG_S = 365 * 86_400.0
"""The connection ends a job at its deadline, and says so; who waits for that waits longer."""


@click.command(epilog="Example: qallow-agent run harmonic --set pockets=32 --set ticks=400")
@work_options
def run(kernel: str, **flags: Any) -> int:
    """Run a kernel once on the best device of the mesh."""
    order = read_order(kernel, flags)
    if order.inputs.columns:
        names = ", ".join(order.inputs.columns)
        raise UsageError(f"{names} holds many values, 'run' takes one", hint="use 'map'")
    if order.output is not None:
        open_output(order.output)
    if flags["detached"]:
        go_background(order.output, as_json=order.form == "json")
        return EXIT_OK
    end_like_an_interrupt()
    mesh = open_mesh(order.socket)
    try:
        return carry_out(mesh, order)
    finally:
        mesh.close()


def carry_out(mesh: Workplace, order: Order) -> int:
    """Submit an order, wait for its result and show it; return the exit code.

    Raises:
        QallowError: Why there is no result.
    """
    began_s = time.monotonic()
    name = JobName()
    pending = mesh.submit_alone(order.kernel, options=order.options, **order.inputs.fixed)
    name.learn(pending.job)
    try:
        outcome = pending.result(_LONG_S)
    except KeyboardInterrupt:
        leave_on_next_interrupt()
        _cancel(pending)
        say_cancelled(name.job, 0, 1, time.monotonic() - began_s)
        return EXIT_INTERRUPTED
    _show(order, outcome, name.job or pending.job, time.monotonic() - began_s)
    return EXIT_OK


def _cancel(pending: Pending) -> None:
    try:
        pending.cancel()
    except QallowError as error:
        note(f"the cancellation did not arrive: {error.message}")


def _show(order: Order, outcome: Outcome, job: str, seconds: float) -> None:
    summary: dict[str, Any] = {
        "schema": "qallow.run/v1",
        "kernel": order.kernel,
        "parameters": inline(order.inputs.fixed),
        "job": job,
        "where": outcome.where,
        "seconds": seconds,
    }
    arrays = {name: np.asarray(value) for name, value in outcome.values.items()}
    if order.output is not None:
        files, left_out = deliver(order.output, save_single(arrays), summary)
        for path in files:
            note(f"wrote {path}")
        say_left_out(left_out)
    if order.form == "json":
        emit("qallow.run/v1", summary | {"values": inline(outcome.values)})
    elif order.form == "csv":
        print_csv(single_row(arrays))
    else:
        show_outputs(outcome.values)
        note(f"on {outcome.where}, after {show_seconds(seconds)}")
