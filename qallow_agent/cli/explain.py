"""``explain``: why here, why not there, and what would change it."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from qallow_agent.base.errors import UsageError
from qallow_agent.base.units import show_bytes, show_seconds
from qallow_agent.cli.kernels import open_catalog, parameter_shapes
from qallow_agent.cli.options import LocalAgent, asks_agent, duration
from qallow_agent.cli.output import emit, note, pairs, table
from qallow_agent.cli.scores import gate_line, say_signals
from qallow_agent.jobs.messages import JobOptions, SubmitJob
from qallow_agent.node.commands import Explain

MOST_SLOTS = 256

_PASSAGES = {
    "granted": "gave a runner",
    "refused": "refused",
    "lost": "took its runner back",
    "silent": "did not answer",
}


@click.command(
    epilog="Example: qallow-agent explain job-gamhuux2bkzrgjky; of a node: qallow-agent explain "
    "box2; of an order: qallow-agent explain --kernel harmonic --set pockets=32 --set ticks=400"
)
@click.argument("subject", metavar="[JOB|NODE]", default="")
@click.option("--kernel", default="", help="Say where this would run now; nothing is run.")
@click.option("--set", "assignments", metavar="NAME=VALUE", multiple=True, help="Set a parameter.")
@click.option(
    "--sweep", "sweeps", metavar="NAME=START:STOP:COUNT", multiple=True, help="Sweep a parameter."
)
@click.option("--device", default="any", show_default=True, help="any, cpu, gpu, or node/device.")
@click.option(
    "--prefer",
    type=click.Choice(["latency", "throughput", "energy"]),
    default="throughput",
    show_default=True,
    help="What placement looks at.",
)
@click.option("--deadline", "deadline_s", type=duration, metavar="DURATION", default=0.0,
              help="Say whether this could be met.")  # fmt: skip
@asks_agent
def explain(agent: LocalAgent, subject: str, kernel: str, as_json: bool, **order: Any) -> None:
    """Say why a job runs where it runs, how a node looks, or what would be chosen now.

    A job that is over is explained too, as long as it is remembered.
    """
    if bool(subject) == bool(kernel):
        raise UsageError(
            "one thing is explained at a time", hint="name a job or a node, or give --kernel"
        )
    query = Explain(order=_order(kernel, **order)) if kernel else Explain(subject)
    report = agent.report(query)
    if as_json:
        emit(report.schema, report.document)
        return
    document = report.document
    _SHOWN[str(document.get("about"))](document)


def _order(
    kernel: str,
    assignments: Sequence[str],
    sweeps: Sequence[str],
    device: str,
    prefer: str,
    deadline_s: float,
) -> SubmitJob:
    from qallow_agent.cli.inputs import read_inputs  # noqa: PLC0415 - brings numpy

    entry = open_catalog().entries.get(kernel)
    shapes = parameter_shapes(entry.kernel.spec) if entry else {}
    inputs = read_inputs(shapes, assignments, (), sweeps)
    extremes = inputs.extremes()
    scalars = {name: value for name, value in inputs.fixed.items() if not getattr(value, "ndim", 0)}
    return SubmitJob(
        kernel,
        inputs.points,
        scalars | {name: least for name, (least, _) in extremes.items()},
        min(inputs.points, MOST_SLOTS),
        JobOptions(device=device, prefer=prefer, deadline_s=deadline_s),
        extremes=extremes,
        shapes={name: v.shape for name, v in inputs.fixed.items() if name not in scalars},
    )


def _job(document: Mapping[str, Any]) -> None:
    share = document.get("share", {})
    rows = [
        ("job", f"{document.get('job')}: {document.get('kernel')}, {document.get('state')}"),
        ("wish", _wish(document.get("options", {}))),
    ]
    rows += [("done on", f"{where}: {count:,} points") for where, count in share.items()]
    if document.get("why"):
        rows.append(("why", str(document["why"])))
    if document.get("hint"):
        rows.append(("fix", str(document["hint"])))
    pairs(rows)
    if (document.get("refusal") or {}).get("text"):
        click.echo(f"\n{document['refusal']['text']}")
    _decisions(document)
    passages = document.get("passages", ())
    if passages:
        click.echo()
    for each in passages:
        why = f": {each['why']}" if each.get("why") else ""
        what = _PASSAGES.get(each["what"], each["what"])
        click.echo(f"{_clock(each['at_s'])}  {each['where']} {what}{why}")
    if not document.get("decisions"):
        note("nothing was decided for it yet")


def _kernel(document: Mapping[str, Any]) -> None:
    points, needs_s = document.get("points", 1), document.get("needs_s")
    rows = [
        ("kernel", f"{document.get('kernel')}, {points:,} point{'' if points == 1 else 's'}"),
        ("a point", (f"{document.get('ops', 0):,.0f} operations, "
                    f"{show_bytes(document.get('memory_bytes', 0))}")),
        ("wish", _wish(document.get("options", {}))),
    ]  # fmt: skip
    if needs_s is not None:
        rows.append(("needs", f"about {show_seconds(needs_s)}"))
    if document.get("refused"):
        rows += [("refused", str(document["refused"])), ("fix", str(document.get("hint", "")))]
    pairs(rows)
    _decisions(document)
    for warning in document.get("warnings", ()):
        note(f"warning: {warning}")


def _node(document: Mapping[str, Any]) -> None:
    rtt_s, link = document.get("rtt_s"), document.get("bandwidth_bytes_s")
    way = "its round trip was not measured yet"
    if rtt_s is not None:
        way = f"{show_seconds(rtt_s)} there and back" if rtt_s else "this node"
    if link:
        way += f", {show_bytes(link)}/s measured"
    roles = ", ".join(document.get("roles", ())) or "none"
    pairs([
        ("node", f"{document.get('name')} ({document.get('node')}), {document.get('state')}"),
        ("roles", roles if "worker" in document.get("roles", ()) else f"{roles}: takes no work"),
        ("link", way),
    ])  # fmt: skip
    if not document.get("advertised"):
        note("its advert has not come yet: nothing is known of its devices")
    for device in document.get("devices", ()):
        click.echo()
        pairs(_device(device))
        say_signals(device.get("signals") or ())
    for each in document.get("refusals", ()):
        click.echo(f"{_clock(each['at_s'])}  {each['device']} refused {each['job']}: {each['why']}")


def _device(device: Mapping[str, Any]) -> list[tuple[str, str]]:
    state = str(device.get("state"))
    state += ", cooling: counts as hot for a while" if device.get("cooling") else ""
    state += f": {device['why']}" if device.get("why") else ""
    tried = device.get("tried", ())
    rates = [
        f"{kernel} {rate:.3g} ops/s{' (by its canary)' if kernel in tried else ''}"
        for kernel, rate in device.get("rates", {}).items()
    ]
    rows = [
        ("device", f"{device.get('device')}, {device.get('kind')}, {device.get('model')}"),
        ("state", state),
        ("slots", (f"{device.get('busy')} of {device.get('slots')} leased, {device.get('warm')} "
                  f"warm, {device.get('waiting')} waited for")),
        ("memory", (f"{show_bytes(device.get('reserved_bytes', 0))} of "
                   f"{show_bytes(device.get('memory_bytes', 0))} promised to leases")),
        ("rates", ", ".join(rates) or "none measured"),
    ]  # fmt: skip
    if device.get("gate"):
        rows.append(("gate", gate_line(device["gate"])))
    if device.get("canary"):
        rows.append(("canary", str(device["canary"])))
    if device.get("start_s"):
        rows.append(("start", f"{show_seconds(device['start_s'])} until a runner served"))
    return rows


def _decisions(document: Mapping[str, Any]) -> None:
    for decision in document.get("decisions", ()):
        wanted, times = decision["wanted"], decision["times"]
        often = f", {times} times in a row" if times > 1 else ""
        runners = "runner" if wanted == 1 else "runners"
        click.echo(f"\n{_clock(decision['at_s'])}  {wanted} {runners} wanted{often}")
        table(
            ("WHERE", "RUNNERS", "SCORE", "WHY, AND WHAT WOULD CHANGE IT"),
            [_verdict(each) for each in decision["verdicts"]],
            empty=decision.get("reason", ""),
            wrap=True,
            keep=0,
        )
        if decision.get("more"):
            note(f"(and {decision['more']} more devices)")
        if decision.get("reason"):
            click.echo(f"nothing was chosen: {decision['reason']}")
            click.echo(f"  fix: {decision.get('hint', '')}")


def _verdict(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    score = verdict.get("score")
    change = f" -> {verdict['change']}" if verdict.get("change") else ""
    return (
        str(verdict["where"]),
        str(verdict.get("slots") or "-"),
        "out" if score is None else f"{score:.3g}",
        f"{verdict['why']}{change}",
    )


def _wish(options: Mapping[str, Any]) -> str:
    parts = [f"{options.get('prefer', 'throughput')} on device {options.get('device', 'any')}"]
    if options.get("priority"):
        parts.append(f"priority {options['priority']}")
    if options.get("deadline_s"):
        parts.append(f"done within {show_seconds(options['deadline_s'])}")
    return ", ".join(parts)


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_s))


_SHOWN = {"job": _job, "node": _node, "kernel": _kernel}
