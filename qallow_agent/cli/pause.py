"""``pause`` and ``resume``: a person stops work on this node; nothing outvotes that."""

import click

from qallow_agent.base.units import show_seconds
from qallow_agent.cli.options import LocalAgent, asks_agent, duration
from qallow_agent.cli.output import emit, note
from qallow_agent.ethics.messages import PauseWork, ResumeWork


@click.command(epilog='Example: qallow-agent pause --for 2h --why "a call"')
@click.option(
    "--for", "for_s", type=duration, metavar="DURATION", default=0.0, help="[default: until resume]"
)
@click.option("--why", default="", help="Kept with it, for whoever asks.")
@asks_agent
def pause(agent: LocalAgent, for_s: float, why: str, as_json: bool) -> None:
    """Stop work on this node and take none, at once; restarts do not end it."""
    report = agent.report(PauseWork(for_s, why))
    if as_json:
        emit("qallow.pause/v1", {"pause": report.document["pause"]})
        return
    click.echo(f"paused {f'for {show_seconds(for_s)}' if for_s else 'until resumed'}")
    note("end it: qallow-agent resume")


@click.command(epilog="Example: qallow-agent resume")
@asks_agent
def resume(agent: LocalAgent, as_json: bool) -> None:
    """End a pause: this node may work again."""
    report = agent.report(ResumeWork())
    if as_json:
        emit("qallow.pause/v1", {"pause": report.document["pause"]})
    else:
        click.echo("resumed: this node may work")
