"""What ``policy record`` writes: by what this node judges its devices, line by line."""

import json
import time
from pathlib import Path
from typing import Any, TextIO

from qallow_agent.base.errors import StorageError
from qallow_agent.cli.options import LocalAgent
from qallow_agent.node.commands import Explain, GetStatus

EVERY_S = 1.0
"""An agent judges its devices about so often."""


def record(agent: LocalAgent, path: Path, seconds: float) -> int:
    """Write the evidence of every judgement of this node's devices to a file.

    Args:
        agent: Who judges.
        path: Gets one line a judgement.
        seconds: For so long.

    Returns:
        How many there were.

    Raises:
        QallowError: The agent is not there, or went away; what it said is written.
        StorageError: The file cannot be written.
    """
    node = str(agent.report(GetStatus()).document["node"])
    try:
        with path.open("w") as lines:
            return _follow(agent, node, lines, time.monotonic() + seconds)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="name a file in a folder of yours"
        ) from error


def _follow(agent: LocalAgent, node: str, lines: TextIO, until_s: float) -> int:
    written: dict[str, Any] = {}
    count = 0
    while True:
        for device in agent.report(Explain(node)).document.get("devices", ()):
            evidence = device.get("evidence")
            if evidence and written.get(device["device"]) != evidence:
                written[device["device"]] = evidence
                lines.write(json.dumps(evidence) + "\n")
                count += 1
        lines.flush()
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return count
        time.sleep(min(EVERY_S, left_s))
