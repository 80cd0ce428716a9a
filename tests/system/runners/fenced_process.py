"""A process that fences itself in as a nursery does, tries what it is told, and says how it went.

``fenced_process.py SECRETS LANDLOCK FILE...``: LANDLOCK is "without" to do as on a kernel that has
none. Prints the fences and, for each file, whether it could be read.
"""

import os
import sys
from pathlib import Path

import msgspec

from qallow_agent.runtime import fences, landlock
from qallow_agent.runtime.settings import RunnerSettings


def readable(path: str) -> bool:
    try:
        Path(path).read_bytes()
    except OSError:
        return False
    return True


def main() -> None:
    secrets, wanted, *files = sys.argv[1:]
    if wanted == "without":
        landlock.version = lambda: 0
    ground = fences.look_up(fences.Ground(secrets=(secrets,)), RunnerSettings())
    found = fences.enclose(ground, RunnerSettings())
    answer = {
        "up": [fence.name for fence in found if fence.up],
        "down": [fence.name for fence in found if not fence.up],
        "uid": os.getuid(),
        "read": {path: readable(path) for path in files},
    }
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    sys.stdout.flush()
    os._exit(0)


main()
