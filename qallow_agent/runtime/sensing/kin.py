"""Kin: which processes of this machine are the agent or descend from it."""

import os
from pathlib import Path

from qallow_agent.runtime.sensing.files import ROOT, text

_GENERATIONS = 16
"""A runner is a grandchild; whatever is further away than this is nobody's."""


def is_ours(pid: int, root: Path = ROOT, me: int | None = None) -> bool:
    """Return whether a process is this one or one of its descendants.

    Args:
        pid: The process in question; one that is gone is not ours.
        root: Where proc/ lies.
        me: The ancestor; this process by default.
    """
    ancestor = os.getpid() if me is None else me
    for _ in range(_GENERATIONS):
        if pid == ancestor:
            return True
        # The name in parentheses may hold anything; state and parent follow the last one.
        facts = text(root / f"proc/{pid}/stat").rpartition(")")[2].split()
        if len(facts) < 2 or not facts[1].isdigit() or facts[1] == "0":  # noqa: PLR2004
            return False
        pid = int(facts[1])
    return False
