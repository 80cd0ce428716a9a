"""``invite``, ``peers``, ``devices``, ``revoke`` and ``leave``: the mesh as this node sees it."""

import sys
import time
from typing import Any

import click

from qallow_agent.base.errors import UsageError
from qallow_agent.base.ids import show_id
from qallow_agent.base.units import show_bytes, show_seconds
from qallow_agent.cli.options import LocalAgent, asks_agent, duration
from qallow_agent.cli.output import emit, note, table
from qallow_agent.cli.start import wait_until_gone
from qallow_agent.client.control import ControlLink
from qallow_agent.config.load import find_socket
from qallow_agent.node.commands import CreateInvite, GetDevices, GetPeers, LeaveMesh, Revoke


@click.command(epilog="Example: qallow-agent invite --uses 3 --ttl 1d --role worker")
@click.option(
    "--role",
    "roles",
    multiple=True,
    default=("worker", "submitter"),
    show_default=True,
    help="What the new node may do; again for more.",
)
@click.option("--zone", default="default", show_default=True, help="Failure domain of the node.")
@click.option(
    "--uses",
    default=1,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="How many boxes may join with it.",
)
@click.option(
    "--ttl",
    type=duration,
    metavar="DURATION",
    default=3600.0,
    help="Valid this long. [default: 1h]",
)
@click.option(
    "--host", "hosts", multiple=True, help="Address of this node to put in; again for more."
)
@asks_agent
def invite(
    agent: LocalAgent,
    roles: tuple[str, ...],
    zone: str,
    uses: int,
    ttl: float,
    hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make an invite and print the command that the next box runs."""
    report = agent.report(CreateInvite(roles, zone, uses, ttl, hosts))
    if as_json:
        emit(report.schema, report.document)
        return
    click.echo(f"qallow-agent start --join {report.document['token']}")
    often = "once" if uses == 1 else f"{uses} times"
    note(f"valid {often}, for {show_seconds(ttl)}; whoever has it may join: keep it secret")


@click.command(epilog="Example: qallow-agent peers --json")
@asks_agent
def peers(agent: LocalAgent, as_json: bool) -> None:
    """List every node of the mesh that this one knows."""
    report = agent.report(GetPeers())
    if as_json:
        emit(report.schema, report.document)
        return
    table(
        ("NAME", "NODE", "STATE", "ADDRESS", "RTT", "OFFSET", "BOUND", "SEEN"),
        [_peer(peer) for peer in report.document.get("peers", ())],
        empty="no node is known; invite one with 'qallow-agent invite'",
    )


@click.command(epilog="Example: qallow-agent devices")
@asks_agent
def devices(agent: LocalAgent, as_json: bool) -> None:
    """List every device that the mesh offers, and why some are not used."""
    report = agent.report(GetDevices())
    if as_json:
        emit(report.schema, report.document)
        return
    rows = list(report.document.get("devices", ()))
    table(
        ("NODE", "DEVICE", "KIND", "STATE", "BUSY", "MEMORY", "MODEL"),
        [_device(device) for device in rows],
        empty="no device is known",
    )
    for device in rows:
        if device.get("why"):
            fix = f" -> {device['fix']}" if device.get("fix") else ""
            note(f"{device.get('name', '')}/{device.get('device', '')}: {device['why']}{fix}")


@click.command(epilog="Example: qallow-agent revoke box7 --reason 'stolen' --yes")
@click.argument("node")
@click.option("--reason", default="", help="Said to whoever asks why.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_agent
def revoke(agent: LocalAgent, node: str, reason: str, yes: bool, as_json: bool) -> None:
    """End another node's membership, for ever and everywhere; NODE is its name or id."""
    confirm(f"End the membership of {node} for ever?", yes=yes)
    agent.ask(Revoke(node, reason))
    if as_json:
        emit("qallow.revoke/v1", {"node": node, "revoked": True})
    else:
        click.echo(f"{node} is no member any more")


@click.command(epilog="Example: qallow-agent leave --yes")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_agent
def leave(agent: LocalAgent, yes: bool, as_json: bool) -> None:
    """Say goodbye to the mesh, forget its certificate, and stop the agent.

    Coming back needs a new invite.
    """
    confirm("Leave the mesh for good? Coming back needs a new invite.", yes=yes)
    began_s = time.monotonic()
    with ControlLink(find_socket(agent.socket), agent.timeout_s) as link:
        link.ask(LeaveMesh())
        wait_until_gone(link, began_s + agent.timeout_s, agent.timeout_s)
    if as_json:
        emit("qallow.leave/v1", {"left": True, "seconds": time.monotonic() - began_s})
    else:
        click.echo("left the mesh; the agent has stopped")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone.

    Raises:
        UsageError: Nobody is there to be asked.
        click.Abort: The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"this needs a yes: {question}", hint="give --yes")
    click.confirm(question, abort=True)


def _peer(peer: dict[str, Any]) -> tuple[str, ...]:
    addresses = peer.get("addresses") or ("-",)
    return (
        str(peer.get("name", "")),
        show_id(str(peer.get("node", ""))),
        str(peer.get("state", "")),
        str(addresses[0]),
        _seconds(peer.get("rtt_s")),
        _seconds(peer.get("offset_s")),
        _seconds(peer.get("bound_s")),
        _seconds(peer.get("age_s")),
    )


def _device(device: dict[str, Any]) -> tuple[str, ...]:
    memory = device.get("memory_bytes")
    return (
        str(device.get("name", "")),
        str(device.get("device", "")),
        str(device.get("kind", "")) + (" (simulated)" if device.get("simulated") else ""),
        str(device.get("state", "")),
        f"{device.get('busy', 0)}/{device.get('slots', 0)}",
        show_bytes(memory) if memory else "-",
        str(device.get("model", "")),
    )


def _seconds(value: Any) -> str:
    return "-" if value is None else show_seconds(float(value))
