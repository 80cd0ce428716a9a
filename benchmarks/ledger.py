"""The log against a plain file and SQLite: decisions a second, durable; one denial; bytes; proving.

``python benchmarks/ledger.py`` writes packed decisions of 40 bytes three ways in the same run, each
durable every 100,000 (fdatasync, or a commit with ``synchronous=FULL``), and then single denials,
each durable by itself. Ours also hashes every entry into the tree and signs each commit twice
(Ed25519 and ML-DSA-44); the others prove nothing. Medians of the rounds, and ratios.
"""

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.runtime.logaudit import audit
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.testing.scribe import Scribe

RECORD_BYTES = 40
RECORDS = 1_600
"""Of one leaf."""
LEAVES = 63
"""Leaves between two signed heads: about 100,000 decisions."""
COMMIT = RECORDS * LEAVES

Act = Callable[[Path, list[bytes], int], float]


def ours(folder: Path, bodies: list[bytes], commits: int) -> float:
    """Return how long it takes to log so many commits of decisions."""
    scribe = Scribe(Logbook(folder / "log"), LedgerSettings(lattice_s=1.0))
    began_s = time.perf_counter()
    for _ in range(commits):
        scribe.write(bodies, LeafKind.DECISIONS)
        scribe.wait(1.0)
    spent_s = time.perf_counter() - began_s
    assert len(scribe.heads) == commits
    return spent_s


def plain(folder: Path, bodies: list[bytes], commits: int) -> float:
    """Return how long a file takes that is only appended to and synced."""
    descriptor = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began_s = time.perf_counter()
    for _ in range(commits):
        for body in bodies:
            os.write(descriptor, body)
        os.fdatasync(descriptor)
    spent_s = time.perf_counter() - began_s
    os.close(descriptor)
    return spent_s


def sqlite(folder: Path, bodies: list[bytes], commits: int) -> float:
    """Return how long SQLite takes with a row a decision."""
    base = open_sqlite(folder)
    began_s = time.perf_counter()
    for _ in range(commits):
        rows = (
            (body[at : at + RECORD_BYTES],)
            for body in bodies
            for at in range(0, len(body), RECORD_BYTES)
        )
        with base:
            base.executemany("insert into decisions (record) values (?)", rows)
    spent_s = time.perf_counter() - began_s
    base.close()
    return spent_s


def open_sqlite(folder: Path) -> sqlite3.Connection:
    """Return a database as one would open it to lose nothing."""
    base = sqlite3.connect(folder / "sqlite")
    base.execute("pragma journal_mode=wal")
    base.execute("pragma synchronous=full")
    base.execute("create table decisions (id integer primary key, record blob)")
    return base


def our_denials(folder: Path, bodies: list[bytes], count: int) -> float:
    """Return how long so many denials take, each durable before the next."""
    scribe = Scribe(Logbook(folder / "log"))
    began_s = time.perf_counter()
    for _ in range(count):
        scribe.write(bodies[:1], at_once=True)
    return time.perf_counter() - began_s


def plain_denials(folder: Path, bodies: list[bytes], count: int) -> float:
    """Return how long a plain file takes for them."""
    return plain(folder, bodies[:1], count)


def sqlite_denials(folder: Path, bodies: list[bytes], count: int) -> float:
    """Return how long SQLite takes for them."""
    base = open_sqlite(folder)
    began_s = time.perf_counter()
    for _ in range(count):
        with base:
            base.execute("insert into decisions (record) values (?)", (bodies[0],))
    spent_s = time.perf_counter() - began_s
    base.close()
    return spent_s


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def proving(folder: Path) -> tuple[int, float]:
    """Return how many entries an audit of our log proves, and how long it takes."""
    files = LogFiles(folder / "log")
    scribe = Scribe(Logbook(folder / "log"))
    began_s = time.perf_counter()
    found = audit(files, scribe.log.keys)
    return found.checkpoint.size, time.perf_counter() - began_s


def measure(base: Path, act: Act, bodies: list[bytes], count: int) -> tuple[float, int, Path]:
    """Return how long something takes in a fresh folder, its bytes, and the folder."""
    folder = Path(tempfile.mkdtemp(dir=base))
    return act(folder, bodies, count), size_of(folder), folder


def main() -> None:
    """Measure all, in rounds that take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", default=".", help="on the disk to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commits", type=int, default=20)
    parser.add_argument("--denials", type=int, default=200)
    given = parser.parse_args()
    rng = random.Random(1)
    bodies = [rng.randbytes(RECORDS * RECORD_BYTES) for _ in range(LEAVES)]
    small = [rng.randbytes(RECORD_BYTES)]
    base = Path(tempfile.mkdtemp(dir=given.dir, prefix=".ledger-bench"))
    rates: dict[str, list[float]] = {}
    sizes: dict[str, float] = {}
    decisions = given.commits * COMMIT
    try:
        for _ in range(given.rounds):
            for act in (ours, plain, sqlite):
                spent_s, size, folder = measure(base, act, bodies, given.commits)
                rates.setdefault(f"{act.__name__}: decisions/s", []).append(decisions / spent_s)
                sizes[act.__name__] = size / decisions
                if act is ours:
                    entries, proving_s = proving(folder)
                    rates.setdefault("ours: decisions/s proved anew", []).append(
                        entries * RECORDS / proving_s
                    )
                shutil.rmtree(folder)
            for act in (our_denials, plain_denials, sqlite_denials):
                spent_s, _, folder = measure(base, act, small, given.denials)
                rates.setdefault(f"{act.__name__}/s", []).append(given.denials / spent_s)
                shutil.rmtree(folder)
    finally:
        shutil.rmtree(base)
    report(rates, sizes)


def report(rates: dict[str, list[float]], sizes: dict[str, float]) -> None:
    """Print medians with their spread, and the ratios to ours."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:<34}{medians[name]:>14,.0f}  ({min(values):,.0f} - {max(values):,.0f})")
    for name, size in sizes.items():
        print(f"{name + ': bytes a decision':<34}{size:>14.2f}")
    whole, single = medians["ours: decisions/s"], medians["our_denials/s"]
    print(f"ours / plain file, decisions/s    {whole / medians['plain: decisions/s']:>14.2f}")
    print(f"ours / SQLite, decisions/s        {whole / medians['sqlite: decisions/s']:>14.2f}")
    print(f"ours / plain file, denials/s      {single / medians['plain_denials/s']:>14.2f}")
    print(f"ours / SQLite, denials/s          {single / medians['sqlite_denials/s']:>14.2f}")


if __name__ == "__main__":
    main()
