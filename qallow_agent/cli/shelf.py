"""Where logs lie: this node's own, or a folder that a command names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from qallow_agent.base.errors import UsageError
from qallow_agent.cli.options import config_option, json_option, set_option
from qallow_agent.config.load import find_socket, load_settings
from qallow_agent.ledger.log import keys_of
from qallow_agent.ledger.signing import NoteKey
from qallow_agent.mesh.trust import standing
from qallow_agent.runtime.keyring import read_key
from qallow_agent.runtime.logaudit import newest
from qallow_agent.runtime.logfiles import LEDGER, LogFiles

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where a log lies, and the key that its node signs with, if that is here."""

    files: LogFiles
    seed: bytes | None

    def keys(self) -> tuple[NoteKey, ...]:
        """Return the keys of this node's own log; none for somebody else's."""
        if self.seed is None:
            return ()
        return keys_of(self.seed, newest(self.files)[1].origin)


def reads_log(function: Command) -> Command:
    """Give a command ``--from``, ``--config``, ``--set`` and ``--json``, and pass it ``shelf``."""
    from_option = click.option(
        "--from",
        "folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The log's folder; default this node's own.",
    )

    @wraps(function)
    def called(
        folder: Path | None, files: tuple[str, ...], assignments: tuple[str, ...], **rest: Any
    ) -> Any:
        return function(shelf=find_shelf(folder, files, assignments), **rest)

    return json_option(set_option(config_option(from_option(called))))  # type: ignore[return-value]


def find_shelf(
    folder: Path | None,
    files: Sequence[str],
    assignments: Sequence[str],
    *,
    may_be_gone: bool = False,
) -> Shelf:
    """Return the log that a command means: a folder's, else this node's own, which may be gone.

    Raises:
        UsageError: There is no log.
        ConfigError: The configuration or the key file is wrong.
    """
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint="name the folder of a log")
        return Shelf(LogFiles(folder), None)
    state = Path(load_settings(files, assignments=assignments).settings.node.state_dir)
    beside = find_socket().parent
    if not (files or assignments) and (beside / LEDGER).is_dir():
        state = beside  # of the agent that every other command would ask
    kept = state / "rooms" / standing.NAME
    mesh = standing.decode_standing(kept.read_bytes()).mesh if kept.is_file() else ""
    found = state / LEDGER / mesh
    if not mesh or not (may_be_gone or found.is_dir()):
        raise UsageError(
            f"there is no log in {state}",
            hint="name another state directory with --set node.state_dir=DIR, or a log with --from",
        )
    return Shelf(LogFiles(found), read_key(state / "ledger.key"))
