"""``--detach``: the same command in the background, in a session of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from qallow_agent.base.errors import KernelFailed, UsageError

JOB_LINE = re.compile(r"^job (\S+)", re.MULTILINE)
"""What the background command writes to its log once the job has an owner."""

_HINT_S = 5.0
_LOG_NAME = "log.txt"


def detach(arguments: Sequence[str], output: Path | None) -> tuple[int, Path, str]:
    """Start this command anew in the background; return its pid, its log and its job's id.

    The id is empty when the job has no owner yet after a few seconds: the log will name it.

    Args:
        arguments: The command line without the program's name.
        output: Where the results will be written; the log stands beside them.

    Raises:
        UsageError: Nowhere to leave the results.
        KernelFailed: The background command ended at once; its last words are the message.
    """
    if output is None:
        raise UsageError("--detach needs a place for the results", hint="give -o DIR")
    output.mkdir(parents=True, exist_ok=True)
    log = output / _LOG_NAME
    words = [word for word in arguments if word != "--detach"]
    with log.open("wb") as opened:
        child = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
            [sys.executable, "-m", "qallow_agent.cli.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=opened,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "QALLOW_DETACHED": "1"},
        )
    deadline_s = time.monotonic() + _HINT_S
    while time.monotonic() < deadline_s:
        code = child.poll()
        found = JOB_LINE.search(log.read_text(encoding="utf-8", errors="replace"))
        if found or code == 0:
            break
        if code is not None:
            words_left = log.read_text(encoding="utf-8", errors="replace").strip()
            raise KernelFailed(
                f"the background command ended with exit code {code}: {words_left}",
                hint="run it without --detach to see it work",
            )
        time.sleep(0.05)
    return child.pid, log, found.group(1) if found else ""
