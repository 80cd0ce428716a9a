"""The command line: a lazy group, and the one place where errors become exit codes."""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from qallow_agent import __version__
from qallow_agent.base.errors import (
    BLAME,
    EXIT_BUG,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    QallowError,
    StorageError,
    UsageError,
)
from qallow_agent.cli.output import say_error

EXIT_INTERRUPTED = 130
"""What shells report for a process ended by SIGINT: 128 + 2."""

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""How a write to stdout fails when its disk is full or its terminal gone."""

COMMANDS = {
    "start": ("start:start", "Run the agent in the foreground."),
    "stop": ("start:stop", "Drain and stop the agent."),
    "status": ("status:status", "Say how this node and its mesh are."),
    "doctor": ("doctor:doctor", "Check everything an agent needs, with fixes."),
    "invite": ("mesh:invite", "Make an invite for another box."),
    "peers": ("mesh:peers", "List the nodes of the mesh."),
    "devices": ("mesh:devices", "List the devices of the mesh."),
    "revoke": ("mesh:revoke", "End another node's membership for ever."),
    "leave": ("mesh:leave", "Leave the mesh for good and stop."),
    "run": ("run:run", "Run a kernel once."),
    "map": ("map:map_", "Run a kernel over many points."),
    "jobs": ("jobs:jobs", "List jobs, or show one."),
    "result": ("jobs:result", "Fetch a retained result."),
    "cancel": ("jobs:cancel", "Cancel a job."),
    "receipt": ("receipt:receipt", "Show and prove what a job was and did."),
    "energy": ("energy:energy", "Say how many joules work took."),
    "ledger": ("ledger:ledger", "Show, check and export this node's signed log."),
    "explain": ("explain:explain", "Say why here, why not there, and what would change it."),
    "policy": ("policy:policy", "Show, set and try out the rules for admitting work."),
    "pause": ("pause:pause", "Stop work on this node, at once."),
    "resume": ("pause:resume", "End a pause."),
    "kernels": ("kernels:kernels", "List, test and measure kernels."),
    "config": ("config:config", "Show, explain and validate the configuration."),
}
"""Command -> (module of this package and attribute, help); imported only when called."""


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order people meet them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"qallow_agent.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed, or suggest the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": None,
        "max_content_width": 80,
    },
    epilog="First steps: 'qallow-agent start' here, 'qallow-agent invite' for the next box.",
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    envvar="QALLOW_COLOR",
    help="Colour the output; auto is on a terminal without NO_COLOR.",
)
@click.pass_context
def app(context: click.Context, color: str) -> None:
    """Find other machines, trust them, and run numeric kernels on the best device."""
    if color == "auto":
        context.color = False if os.environ.get("NO_COLOR") else None
    else:
        context.color = color == "always"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Words after the program's name; default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome = app.main(args=words, prog_name="qallow-agent", standalone_mode=False)
    except QallowError as error:
        say_error(error, as_json="--json" in words)
        return exit_code(error)
    except click.ClickException as error:
        say_error(_as_ours(error), as_json="--json" in words)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _hush_stdout()
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last boundary: what nobody foresaw is our bug, said so
        return _give_up(error)
    return outcome if isinstance(outcome, int) else EXIT_OK


def _as_ours(error: click.ClickException) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "qallow-agent"
    return UsageError(error.format_message().removesuffix("."), hint=f"see '{path} --help'")


def _give_up(error: Exception) -> int:
    """Say what nobody foresaw: stdout took no more, or a bug of ours."""
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        why = f"the output cannot be written: {error.strerror}"
        say_error(StorageError(why, hint="free space, or print elsewhere"))
        _hush_stdout()
        return EXIT_FAILED
    traceback.print_exception(error)
    click.echo("error: this is a bug in qallow-agent; please report the lines above", err=True)
    return EXIT_BUG


def _hush_stdout() -> None:
    """Let what is left in stdout's buffer vanish instead of failing again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: QallowError) -> int:
    """Return the exit code of an error, by the table of blame."""
    return next(BLAME[kind][0] for kind in type(error).__mro__ if kind in BLAME)


if __name__ == "__main__":
    sys.exit(main())
