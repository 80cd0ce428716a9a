"""A process that writes a log until it is killed, and prints each head when it may be told.

    python writer.py FOLDER FIRST           writes commits for ever
    python writer.py FOLDER FIRST COMMITS   writes so many, or as many as the disk takes

Lines on stdout: the size and root of each durable head; ``failed`` with what was wrong.
"""

import os
import random
import sys
from pathlib import Path

from qallow_agent.runtime.logbook import Logbook
from qallow_agent.testing.scribe import Scribe


def main(folder: Path, first: int, commits: int) -> None:
    rng = random.Random(first)
    scribe = Scribe(Logbook(folder))
    told = 0
    for number in range(first, first + commits):
        bodies = [rng.randbytes(rng.randrange(200)) for _ in range(rng.randrange(1, 40))]
        if rng.random() < 0.3:
            scribe.write(bodies, at_once=True)
        scribe.commit(bodies if number % 9 else [b""] * 500)
        for head in scribe.heads[told:]:
            os.write(1, f"{head.size} {head.root.hex()}\n".encode())
        told = len(scribe.heads)
        if scribe.log.trouble:
            os.write(1, f"failed {scribe.log.stopped} {scribe.log.trouble}\n".encode())
            return


if __name__ == "__main__":
    folder, first, *commits = sys.argv[1:]
    main(Path(folder), int(first), int(commits[0]) if commits else 1 << 40)
