"""``start`` and ``stop``: an agent in the foreground, and its end."""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qallow_agent import __version__
from qallow_agent.base.errors import AgentUnreachable, DeadlineExceeded, UsageError
from qallow_agent.base.ids import show_id
from qallow_agent.base.units import show_seconds
from qallow_agent.cli.options import (
    LocalAgent,
    asks_agent,
    config_option,
    json_option,
    set_option,
)
from qallow_agent.cli.output import emit, note, pairs
from qallow_agent.config.load import find_socket, load_settings

if TYPE_CHECKING:
    from qallow_agent.client.control import ControlLink

_MAX_TOKEN_BYTES = 1 << 14


@click.command(
    epilog="Example: qallow-agent start --name box2 --join-file invite.txt",
)
@config_option
@set_option
@click.option("--name", metavar="NAME", help="Name of this node; default the host's.")
@click.option("--state-dir", metavar="DIR", help="Where this agent keeps its keys and state.")
@click.option(
    "--socket", metavar="PATH", help="The control socket; default in the state directory."
)
@click.option("--join", metavar="TOKEN", help="Join a mesh by an invite ('qj1-...').")
@click.option("--join-file", metavar="FILE", help="Read the invite from a file, or '-' for stdin.")
@json_option
def start(
    files: tuple[str, ...],
    assignments: tuple[str, ...],
    name: str | None,
    state_dir: str | None,
    socket: str | None,
    join: str | None,
    join_file: str | None,
    as_json: bool,
) -> int:
    """Run the agent in the foreground until it is stopped.

    The first start makes keys and a mesh; with an invite it joins one instead. The invite may also
    stand in QALLOW_JOIN.
    """
    token = _token(join, join_file)
    flags = {"node.name": name, "node.state_dir": state_dir, "node.socket": socket}
    named = [f"{key}={value}" for key, value in flags.items() if value is not None]
    loaded = load_settings(files, assignments=(*assignments, *named))
    from qallow_agent.assembly import run_agent  # noqa: PLC0415 - brings the whole agent

    return run_agent(loaded.settings, join=token, ready=_announcer(as_json=as_json))


@click.command(epilog="Example: qallow-agent stop --timeout 30s")
@click.option("--now", is_flag=True, help="Do not wait for running tasks.")
@asks_agent
def stop(agent: LocalAgent, now: bool, as_json: bool) -> None:
    """Let the agent finish its tasks, say goodbye to the mesh, and stop."""
    from qallow_agent.client.control import ControlLink  # noqa: PLC0415 - start needs no client
    from qallow_agent.node.commands import StopAgent  # noqa: PLC0415 - start needs no client

    began_s = time.monotonic()
    with ControlLink(find_socket(agent.socket), agent.timeout_s) as link:
        link.ask(StopAgent(now=now))
        wait_until_gone(link, began_s + agent.timeout_s, agent.timeout_s)
    seconds = time.monotonic() - began_s
    if as_json:
        emit("qallow.stop/v1", {"stopped": True, "seconds": seconds})
    else:
        click.echo(f"stopped after {show_seconds(seconds)}")


def wait_until_gone(link: "ControlLink", deadline_s: float, allowed_s: float) -> None:
    """Return when the agent has closed the connection, which is the last thing it does.

    Raises:
        DeadlineExceeded: It still runs at the deadline.
    """
    with contextlib.suppress(AgentUnreachable):
        while (remaining_s := deadline_s - time.monotonic()) > 0:
            link.events(remaining_s)
        raise DeadlineExceeded(
            f"the agent is still finishing its tasks after {show_seconds(allowed_s)}",
            hint="allow more --timeout, or give --now",
        )


def _token(join: str | None, join_file: str | None) -> str | None:
    if join is not None and join_file is not None:
        raise UsageError("--join and --join-file exclude each other", hint="give one of them")
    if join is not None:
        note("warning: an invite on the command line is visible to others in 'ps';")
        note("         --join-file FILE, '--join-file -' or QALLOW_JOIN keep it private")
        return _invite_in(join)
    if join_file is None:
        return _invite_in(os.environ.get("QALLOW_JOIN", "")) or None
    try:
        if join_file == "-":
            text = sys.stdin.read(_MAX_TOKEN_BYTES)
        else:
            with Path(join_file).open(encoding="utf-8") as opened:
                text = opened.read(_MAX_TOKEN_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            f"the invite cannot be read from {join_file}: {why}", hint="name an existing file"
        ) from error
    token = _invite_in(text)
    if not token:
        raise UsageError(f"{join_file} holds no invite", hint="an invite starts with 'qj1-'")
    return token


def _invite_in(text: str) -> str:
    """Return the token of what somebody copied: it alone, or the whole line around it."""
    words = [word for word in text.split() if word.startswith("qj1-")] or text.split()
    return words[-1] if words else ""


def _announcer(*, as_json: bool) -> Callable[[dict[str, Any]], None]:
    def announce(facts: dict[str, Any]) -> None:
        if as_json:
            emit("qallow.start/v1", {"release": __version__, **facts})
        else:
            _say_ready(facts)
        sys.stdout.flush()

    return announce


def _say_ready(facts: dict[str, Any]) -> None:
    seconds = show_seconds(float(facts.get("seconds", 0.0)))
    click.echo(f"qallow-agent {__version__} is ready after {seconds}")
    pairs(
        [
            ("  node", f"{facts.get('name', '')}  {show_id(str(facts.get('node', '')))}"),
            ("  mesh", f"{facts.get('mesh_name', '')}  {show_id(str(facts.get('mesh', '')))}"),
            ("  addresses", ", ".join(str(address) for address in facts.get("addresses", ()))),
            ("  socket", str(facts.get("socket", ""))),
        ]
    )
    click.echo("For the next box: run 'qallow-agent invite' here, and there what it prints.")
