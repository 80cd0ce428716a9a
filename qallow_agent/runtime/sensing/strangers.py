"""Strangers: the share of this machine's CPU that goes to programs which are not ours."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.sensing.files import ROOT, text

SOURCE = "/proc"
QUIET_SHARE = 0.25
"""Below this nothing is looked for: all that runs, ours too, takes less than strangers may."""
SCAN_S: Seconds = 2.5
"""How often processes are listed at most; a reading older than 3 s would count for nothing."""
OUR_NAME = "qallow"
"""How the names of agents, nurseries and runners begin, those of other agents here too."""
_IDLE, _IOWAIT, _GUEST = 3, 4, 8
_PARENT, _TIMES = 1, slice(11, 15)
"""Fields of /proc/PID/stat behind the name (proc(5) counts from 1, and two stand before)."""

Table = dict[int, tuple[int, int]]
"""Process -> clock ticks that it and its reaped children took, and its parent."""


@dataclass(frozen=True, slots=True)
class _Scan:
    table: Table
    ours: frozenset[int]
    busy: int
    total: int
    at_s: Seconds


class Strangers:
    """Tells what others compute; lists processes only while much is computed at all.

    Args:
        friends: Processes of clients: what they and their children compute is for us as well.
        root: Where proc/ lies.
        me: The agent's process.
    """

    def __init__(
        self,
        friends: Callable[[], Iterable[int]] = tuple,
        root: Path = ROOT,
        me: int | None = None,
    ) -> None:
        self._friends = friends
        self._proc = root / "proc"
        self._me = os.getpid() if me is None else me
        self._before: tuple[int, int] | None = None
        self._scan: _Scan | None = None
        self._last = unknown("ratio", SOURCE, "the first sample has none before it")
        self._last_s: Seconds = 0.0

    def read(self, now_s: Seconds) -> tuple[Reading, Seconds]:
        """Return the share and when it was measured; an upper bound while little is computed."""
        busy, total = self._clock()
        before, self._before = self._before, (busy, total)
        if before is None or total <= before[1]:
            return self._last, self._last_s
        share = (busy - before[0]) / (total - before[1])
        if share < QUIET_SHARE:
            self._scan = None
            why = "an upper bound: all that runs here, our own work included"
            return self._tell(Reading(round(share, 4), "ratio", SOURCE, why=why), now_s)
        if self._scan is None:
            self._scan = _Scan(*self._list(), busy, total, now_s)
            if self._last.value is None:
                return unknown("ratio", SOURCE, "it is being measured"), now_s
        elif now_s - self._scan.at_s >= SCAN_S:
            return self._tell(self._measure(busy, total, now_s), now_s)
        return self._last, self._last_s

    def _tell(self, reading: Reading, now_s: Seconds) -> tuple[Reading, Seconds]:
        self._last, self._last_s = reading, now_s
        return reading, now_s

    def _measure(self, busy: int, total: int, now_s: Seconds) -> Reading:
        before, now = self._scan, _Scan(*self._list(), busy, total, now_s)
        self._scan = now
        if before is None or now.total <= before.total:
            return self._last
        others = now.busy - before.busy - _spent(before, now)
        share = min(1.0, max(0.0, others / (now.total - before.total)))
        return Reading(round(share, 4), "ratio", SOURCE)

    def _clock(self) -> tuple[int, int]:
        """Return the machine's ticks, busy and in all."""
        line = text(self._proc / "stat").partition("\n")[0].split()
        ticks = [int(each) for each in line[1:] if each.isdigit()]
        if len(ticks) <= _IOWAIT:
            return 0, 0
        # Linux counts a guest's time in user's as well.
        total = sum(ticks[:_GUEST])
        return total - ticks[_IDLE] - ticks[_IOWAIT], total

    def _list(self) -> tuple[Table, frozenset[int]]:
        """Return every process, and which of them are ours or work for us."""
        table: Table = {}
        named = {self._me, *(pid for pid in self._friends() if pid > 1)}
        for entry in os.scandir(self._proc):
            if not entry.name.isdigit():
                continue
            name, _, rest = text(Path(entry.path) / "stat").rpartition(")")
            facts = rest.split()
            if len(facts) < _TIMES.stop:
                continue  # it ended while we looked
            pid = int(entry.name)
            table[pid] = (sum(int(each) for each in facts[_TIMES]), int(facts[_PARENT]))
            if name.partition("(")[2].startswith(OUR_NAME):
                named.add(pid)
        return table, frozenset(pid for pid in table if _descends(pid, named, table))


def _descends(pid: int, ancestors: set[int], table: Table) -> bool:
    for _ in range(len(table)):
        if pid in ancestors:
            return True
        if pid not in table:
            return False
        pid = table[pid][1]
    return False


def _spent(before: _Scan, after: _Scan) -> int:
    """Return the ticks that our processes took between two looks.

    What a reaped child took moves to its parent, all of it at once: what was counted for the child
    before comes off.
    """
    spent = sum(
        after.table[pid][0] - before.table.get(pid, (0, 0))[0] for pid in sorted(after.ours)
    )
    reaped = sum(
        before.table[pid][0]
        for pid in before.ours
        if pid not in after.table and before.table[pid][1] in after.ours
    )
    return max(0, spent - reaped)
