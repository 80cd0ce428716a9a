"""``status``: what a person asks first, and what an exit code can say."""

from typing import Any

import click

from qallow_agent.base.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, AgentUnreachable
from qallow_agent.base.ids import show_id
from qallow_agent.base.units import show_bytes, show_seconds
from qallow_agent.cli.options import LocalAgent, asks_agent
from qallow_agent.cli.output import emit, pairs
from qallow_agent.cli.policy_show import exceptions
from qallow_agent.cli.scores import GATES, gate_line

EXIT_DOWN = EXIT_USAGE
"""``status`` alone answers 0 healthy, 1 degraded, 2 down, as monitors expect."""


_WORDS = 66
"""Letters beside the names of rows: tables fit 80 columns."""


@click.command(
    epilog="Exit code: 0 healthy, 1 degraded, 2 down. Example: qallow-agent status --json"
)
@asks_agent
def status(agent: LocalAgent, as_json: bool) -> int:
    """Say how this node and its mesh are, and what to do about what is not well."""
    from qallow_agent.node.commands import GetStatus  # noqa: PLC0415 - only this command needs it

    try:
        report = agent.report(GetStatus())
    except AgentUnreachable as error:
        _say_down(error, as_json=as_json)
        return EXIT_DOWN
    if as_json:
        emit(report.schema, report.document)
    else:
        _say(report.document)
    return EXIT_OK if is_well(report.document) else EXIT_FAILED


def is_well(document: dict[str, Any]) -> bool:
    """Return whether a status document describes a healthy node and mesh."""
    return document.get("state") == "ready" and not document.get("problems")


def _say_down(error: AgentUnreachable, *, as_json: bool) -> None:
    if as_json:
        emit("qallow.status/v1", {"state": "down", "reason": error.message, "fix": error.hint})
        return
    click.echo(f"{click.style('down', fg='red')}: {error.message}")
    click.echo(f"  fix: {error.hint}")


def _say(document: dict[str, Any]) -> None:
    pairs(_rows(document))
    for shut in document.get("closed") or ():
        say = f"{shut['name']}/{shut['device']} {GATES[shut['state']]} new work: {shut['what']}"
        click.echo(f"{click.style('gate', fg='yellow')}  {say}")
        if shut.get("fix"):
            click.echo(f"  fix: {shut['fix']}")
    for line in exceptions(document.get("policy") or {}):
        click.echo(click.style(line, fg="yellow"))
    for problem in document.get("problems") or ():
        name = problem.get("name") or show_id(str(problem.get("node", "")))
        click.echo(f"{click.style('not well', fg='yellow')}  {name}: {problem.get('what', '')}")
        if problem.get("fix"):
            click.echo(f"  fix: {problem['fix']}")


def _rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is said of this node and its mesh, by topic."""
    state = str(document.get("state", "unknown"))
    colour = "green" if is_well(document) else "yellow"
    node = (
        f"{document.get('name', '')} ({show_id(str(document.get('node', '')))}), "
        f"{click.style(state, fg=colour)}, up {show_seconds(document.get('uptime_s') or 0.0)}, "
        f"release {document.get('release', '?')}"
    )
    mesh = f"{document.get('mesh_name', '')} ({show_id(str(document.get('mesh', '')))})"
    rows = [
        ("mesh", mesh),
        ("node", node),
        ("members", _members(document.get("members") or {})),
        ("canaries", _counts(document.get("canaries") or {}, ("passed", "failed", "pending"))),
        ("clock", _clock(document.get("clock") or {})),
        ("ledger", _ledger(document.get("ledger") or {})),
        ("work", _work(document.get("work") or {})),
    ]
    if document.get("admission"):
        rows.append(("gate", gate_line(document["admission"])))
    rows += _judged(document)
    if document.get("memory_rss_bytes"):
        rows.append(("memory", show_bytes(document["memory_rss_bytes"])))
    return rows


def _members(members: dict[str, Any]) -> str:
    text = f"{members.get('alive', 0)} alive of {members.get('known', 0)} known"
    others = _counts(members, ("suspect", "dead", "left"), skip_zero=True)
    return f"{text} ({others})" if others else text


def _counts(document: dict[str, Any], names: tuple[str, ...], *, skip_zero: bool = False) -> str:
    counts = [(name, document.get(name, 0)) for name in names]
    return ", ".join(f"{count} {name}" for name, count in counts if count or not skip_zero)


def _clock(clock: dict[str, Any]) -> str:
    offset_s, bound_s = clock.get("offset_s"), clock.get("bound_s")
    if offset_s is None or bound_s is None:
        text = "not compared with any other clock yet"
    else:
        text = f"offset {show_seconds(offset_s)}, at most {show_seconds(bound_s)} off"
    if clock.get("pace_s"):
        text += f"; the mesh ticks every {show_seconds(clock['pace_s'])}"
    if clock.get("synchronized") is False:
        text += "; not synchronized"
    return text


def _ledger(ledger: dict[str, Any]) -> str:
    head, standing = ledger.get("head", 0), ledger.get("standing", "no committee yet")
    if not ledger.get("committee"):
        return f"head {head}, {standing}"
    certified = (
        f"certified {ledger.get('certified', 0)} by {ledger.get('certified_by', 0)} "
        f"of {ledger['committee']}"
    )
    return f"head {head}, {certified}, provisional {ledger.get('provisional', 0)} ({standing})"


def _judged(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what validators and audits say, where the agent tells."""
    rows: list[tuple[str, str]] = []
    if document.get("validators"):
        rows.append(("validators", _validators(document["validators"])))
        if document["validators"].get("last_objection"):
            rows.append(("objection", document["validators"]["last_objection"][:_WORDS]))
    audits = document.get("audits") or {}
    if document.get("coherence"):
        rows.append(("coherence", _coherence(document["coherence"])))
    elif audits.get("audits"):
        rows.append(("audits", str(audits.get("text", ""))))
    return rows


def _coherence(found: dict[str, Any]) -> str:
    """Return coherence in one line; the two are shares, as of now."""
    text = str(found.get("text", "unknown"))
    if found.get("coherence") is None:
        return text
    both = (found["coherence"] / 1e6, found["decoherence"] / 1e6)
    return f"{both[0]:.3f}, decoherence {both[1]:.3f}; {text}"


def _validators(found: dict[str, Any]) -> str:
    return (
        f"{found.get('validated', 0)} decisions validated, {found.get('objected', 0)} objected to, "
        f"{found.get('judged', 0)} of others judged"
    )


def _work(work: dict[str, Any]) -> str:
    return (
        f"{work.get('jobs_running', 0)} jobs, {work.get('leases', 0)} leases, "
        f"{work.get('slots_busy', 0)} of {work.get('slots_total', 0)} slots busy"
    )
