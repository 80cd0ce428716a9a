"""Forks writers of one log and kills them at random moments; after each the log must be sound.

``python killer.py FOLDER KILLS`` prints how many it killed, how many heads they told, and how long
the log is. It is one process of one thread, so that forking is cheap and safe.
"""

import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from writer import main as write

from qallow_agent.ledger.proofs import root_of
from qallow_agent.ledger.tiles import TiledTree
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.testing.scribe import Scribe


def killed_writer(folder: Path, number: int, after_s: float) -> bytes:
    """Return what a writer printed before it was killed."""
    inlet, outlet = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.dup2(outlet, 1)
        write(folder, number, 1 << 40)
        os._exit(1)
    os.close(outlet)
    if number % 4:  # three in four are killed in the middle of writing, the others while they start
        select.select([inlet], [], [], 20)
    time.sleep(after_s)
    os.kill(writer, signal.SIGKILL)
    _, status = os.waitpid(writer, 0)
    assert os.WIFSIGNALED(status), f"writer {number} ended by itself"
    with os.fdopen(inlet, "rb") as pipe:
        return pipe.read()


def check(folder: Path, told: dict[int, str]) -> int:
    """Check that the log opens and continues every head that was told; return its size."""
    scribe, files = Scribe(Logbook(folder)), LogFiles(folder)
    for size, root in told.items():
        assert root_of(size, TiledTree(size, files.read).node).hex() == root, f"head {size} is gone"
    return scribe.log.size


def main(folder: Path, kills: int) -> None:
    """Kill so many writers."""
    rng = random.Random(1)
    told: dict[int, str] = {}
    for number in range(kills):
        said = killed_writer(folder, number, rng.uniform(0.0, 0.04))
        heard = dict(line.split(" ") for line in said.decode().split("\n")[:-1])
        new = {int(length): root for length, root in heard.items()}
        told |= new
        check(folder, new)
    size = check(folder, told)
    sys.stdout.write(f"{kills} {len(told)} {size}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
