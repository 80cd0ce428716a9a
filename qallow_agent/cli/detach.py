"""``--detach``: the same command in the background, in a session of its own."""

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from qallow_agent.base.errors import JobFailed, UsageError
from qallow_agent.cli.deliver import is_file

JOB_LINE = re.compile(r"^job (\S+)", re.MULTILINE)
"""What the background command writes to its log once the job has an owner."""

_HINT_S = 5.0
_POLL_S = 0.05
_LOG_NAME = "log.txt"


def detach(arguments: Sequence[str], output: Path | None) -> tuple[int, Path, str]:
    """Start this command anew in the background; return its pid, its log and its job's id.

    The id is empty when the job has no owner yet after a few seconds: the log will name it.

    Args:
        arguments: The command line without the program's name.
        output: Where the results will be written; the log stands beside them.

    Raises:
        UsageError: Nowhere to leave the results.
        JobFailed: The background command ended at once; its last words are the message.
    """
    if output is None:
        raise UsageError("--detach needs a place for the results", hint="give -o DIR or -o FILE")
    log = output.with_name(f"{output.name}.log") if is_file(output) else output / _LOG_NAME
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [word for word in arguments if word != "--detach"]
    pid = _spawn([sys.executable, "-m", "qallow_agent.cli.main", *words], log)
    deadline_s = time.monotonic() + _HINT_S
    code: int | None = None
    while time.monotonic() < deadline_s:
        ended, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
        said = log.read_text(encoding="utf-8", errors="replace")
        found = JOB_LINE.search(said)
        if code:
            raise JobFailed(
                f"the background command ended with exit code {code}: {said.strip()}",
                hint="run it without --detach to see it work",
            )
        if found or code == 0:
            return pid, log, found.group(1) if found else ""
        time.sleep(_POLL_S)
    return pid, log, ""


def _spawn(words: list[str], log: Path) -> int:
    """Start a program in a session of its own, its output in a file; nothing waits for it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        words[0],
        words,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
