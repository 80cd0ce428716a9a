"""A rehearsal for ``doctor``: fence a process in as the nursery does, and try to get out.

Run as ``python -m qallow_agent.runtime.fence_trial`` with a :class:`Trial` in JSON on its standard
input; answers with an :class:`Outcome` on its standard output.
"""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from qallow_agent.runtime.fences import Fence, Ground, enclose, look_up
from qallow_agent.runtime.settings import RunnerSettings

_CONNECT_S: Final = 2.0


class Trial(msgspec.Struct, frozen=True):
    """What to put up, and what must then be out of reach."""

    settings: RunnerSettings
    ground: Ground
    control: str


class Outcome(msgspec.Struct, frozen=True):
    """Which fences are up, and what was reached in spite of them."""

    fences: tuple[Fence, ...] = ()
    reached: tuple[str, ...] = ()


def rehearse(trial: Trial) -> Outcome:
    """Enclose this process for good and return what it can still reach."""
    found = [str(path) for secret in trial.ground.secrets for path in Path(secret).rglob("*.key")]
    wanted = "off" if trial.settings.fences == "off" else "auto"
    ground = look_up(trial.ground, trial.settings)
    fences = enclose(ground, replace(trial.settings, fences=wanted))
    reached = [path for path in found if _readable(path)]
    if _connects(trial.control):
        reached.append(trial.control)
    return Outcome(fences, tuple(reached))


def _readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False


def _connects(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ours:
            ours.settimeout(_CONNECT_S)
            ours.connect(path)
            return True
    except OSError:
        return False


if __name__ == "__main__":
    outcome = rehearse(msgspec.json.decode(sys.stdin.buffer.read(), type=Trial))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    sys.stdout.flush()
    os._exit(0)
