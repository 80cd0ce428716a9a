"""``jobs``, ``result`` and ``cancel``: work that was handed in before."""

import time
from pathlib import Path
from typing import Any

import click

from qallow_agent.base.errors import EXIT_OK, JobNotFound, UsageError
from qallow_agent.base.ids import JobId
from qallow_agent.base.units import show_seconds
from qallow_agent.cli.joules import describe
from qallow_agent.cli.options import LocalAgent, asks_agent
from qallow_agent.cli.output import emit, pairs, table
from qallow_agent.jobs.messages import JobCancel, ListJobs

_MOMENTS = {"submitted_s": "submitted", "ended_s": "ended"}


@click.command(epilog="Example: qallow-agent jobs job-gamhuux2bkzrgjky")
@click.argument("job", required=False)
@asks_agent
def jobs(agent: LocalAgent, job: str | None, as_json: bool) -> None:
    """List the jobs this node owns, newest last, or show one."""
    report = agent.report(ListJobs(JobId(job) if job else None))
    found = list(report.document.get("jobs", ()))
    if job and not found:
        raise JobNotFound(f"no job {job!r} is known here", hint="'qallow-agent jobs' lists them")
    if as_json:
        emit(report.schema, report.document)
    elif job:
        pairs(_facts(found[0]))
    else:
        table(
            ("JOB", "KERNEL", "STATE", "DONE", "FAILED", "RE-RUN", "AGE"),
            [_row(item) for item in found],
            empty="no jobs; run one with 'qallow-agent run harmonic'",
            keep=0,
        )


@click.command(epilog="Example: qallow-agent cancel job-gamhuux2bkzrgjky")
@click.argument("job")
@asks_agent
def cancel(agent: LocalAgent, job: str, as_json: bool) -> None:
    """Cancel a job; its finished points stay where its submitter put them."""
    agent.ask(JobCancel(JobId(job)))
    if as_json:
        emit("qallow.cancel/v1", {"job": job, "cancelled": True})
    else:
        click.echo(f"cancelled {job}")


@click.command(
    epilog="Example: qallow-agent result job-gamhuux2bkzrgjky -o out/; rolled back: qallow-agent "
    "result job-gamhuux2bkzrgjky --at-epoch 3"
)
@click.argument("job")
@click.option("-o", "--output", metavar="DIR|FILE", type=click.Path(path_type=Path),
              help="Write results.npz and summary.json there, or one .csv, .npz or .parquet "
              "file.")  # fmt: skip
@click.option("--at-epoch", "epoch", metavar="EPOCH", type=click.IntRange(1),
              help="Roll a long run back to this checkpoint and replay it to its end.")  # fmt: skip
@click.option("--state", "only_state", is_flag=True, help="Show the checkpoint, replay nothing.")
@asks_agent
def result(
    agent: LocalAgent,
    job: str,
    output: Path | None,
    epoch: int | None,
    only_state: bool,
    as_json: bool,
) -> int:
    """Fetch the retained result of a job, or roll its run back and replay it.

    A replay says whether its result is that of the job, to the bit.
    """
    if epoch is not None:
        from qallow_agent.cli.rollback import roll_back  # noqa: PLC0415 - brings numpy

        return roll_back(agent, JobId(job), epoch, output, only_state=only_state, as_json=as_json)
    if output is None or only_state:
        missing = "--at-epoch" if only_state else "-o"
        raise UsageError(f"{missing} is missing", hint="give -o DIR, or --at-epoch EPOCH")
    from qallow_agent.cli.retained import fetch  # noqa: PLC0415 - brings numpy

    written = fetch(agent, JobId(job), output)
    if as_json:
        emit("qallow.result/v1", {"job": job, "files": [str(path) for path in written]})
    else:
        click.echo(f"wrote {', '.join(str(path) for path in written)}")
    return EXIT_OK


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    submitted_s = job.get("submitted_s")
    done, points = job.get("done", 0), job.get("points", 0)
    return (
        str(job.get("job", "")),
        str(job.get("kernel", "")),
        str(job.get("state", "")),
        f"{done / points:.0%}" if done < points else str(done),
        str(job.get("failed", 0)),
        str(job.get("rerun", 0)),
        "-" if submitted_s is None else show_seconds(max(0.0, time.time() - submitted_s)),
    )


def _facts(job: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of one job, moments as local time."""
    rows = []
    for name, value in job.items():
        if value in ("", None, [], {}):
            continue
        if name == "energy":
            rows += describe(value)
        elif name in _MOMENTS:
            local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
            ago = show_seconds(max(0.0, time.time() - value))
            rows.append((_MOMENTS[name], f"{local}, {ago} ago"))
        else:
            rows.append((name.replace("_", " "), _shown(value)))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
