"""Options that many commands share, and the local agent as a command sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from qallow_agent.base.errors import ConfigError, PeerError
from qallow_agent.base.message import Message, Report
from qallow_agent.base.units import parse_duration
from qallow_agent.config.load import find_socket

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_TIMEOUT_S = 10.0


def duration(text: str | float) -> float:
    """Return the seconds of ``1.5s``, ``200ms``, ``2h`` or a bare number, for click."""
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise click.BadParameter(f"{error.message}; {error.hint}") from error


@dataclass(frozen=True, slots=True)
class LocalAgent:
    """How to reach the agent of this machine, as the command line said."""

    socket: str | None
    timeout_s: float

    def ask(self, message: Message) -> Message:
        """Return the agent's answer to one request.

        Raises:
            QallowError: What the agent refused with, or AgentUnreachable.
        """
        from qallow_agent.client.control import ControlLink  # noqa: PLC0415 - start needs no socket

        with ControlLink(find_socket(self.socket), self.timeout_s) as link:
            return link.ask(message)

    def report(self, message: Message) -> Report:
        """Return the document that answers a query.

        Raises:
            QallowError: What the agent refused with, or AgentUnreachable.
        """
        answer = self.ask(message)
        if not isinstance(answer, Report):
            raise PeerError(
                f"the agent answered a query with {type(answer).__name__}",
                hint="agent and command line are of different releases: restart the agent",
            )
        return answer


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

socket_option = click.option(
    "--socket", metavar="PATH", envvar="QALLOW_SOCKET", help="The agent's control socket."
)

timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=duration,
    metavar="DURATION",
    default=DEFAULT_TIMEOUT_S,
    envvar="QALLOW_TIMEOUT",
    help="Give up after this long. [default: 10s]",
)

config_option = click.option(
    "--config",
    "files",
    metavar="FILE",
    multiple=True,
    help="TOML configuration; again to add more, later ones win.",
)

set_option = click.option(
    "--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Set one setting."
)


def asks_agent(function: Command) -> Command:
    """Give a command ``--socket``, ``--timeout`` and ``--json``, and pass it ``agent``."""

    @wraps(function)
    def called(socket: str | None, timeout_s: float, **rest: Any) -> Any:
        return function(agent=LocalAgent(socket, timeout_s), **rest)

    return json_option(timeout_option(socket_option(called)))  # type: ignore[return-value]
