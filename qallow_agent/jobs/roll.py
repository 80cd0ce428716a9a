"""The roll: on which devices, of which nodes, a job has runners."""

from collections import Counter

from qallow_agent.jobs.lines import Line


class Roll:
    """Counts runners by device and by node."""

    def __init__(self) -> None:
        self._places: Counter[str] = Counter()
        self._nodes: Counter[str] = Counter()
        self._tried: Counter[str] = Counter()

    @property
    def places(self) -> int:
        """Different devices there are runners on."""
        return len(self._places)

    @property
    def nodes(self) -> int:
        """Different nodes there are runners on."""
        return len(self._nodes)

    @property
    def trying(self) -> bool:
        """Whether there is a runner on a device on trial."""
        return bool(self._tried)

    def joined(self, line: Line) -> None:
        """Take in that there is one more runner."""
        for counter, name in self._counters(line):
            counter[name] += 1

    def left(self, line: Line) -> None:
        """Take in that a runner is gone."""
        for counter, name in self._counters(line):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    def has_other(self, asked: tuple[str, ...]) -> bool:
        """Return whether there is a runner on a device that was not asked."""
        return any(place not in asked for place in self._places)

    def tries(self, asked: tuple[str, ...]) -> bool:
        """Return whether a device on trial was asked."""
        return any(place in self._tried for place in asked)

    def _counters(self, line: Line) -> list[tuple[Counter[str], str]]:
        tried = [(self._tried, line.place)] if line.shadow else []
        return [(self._places, line.place), (self._nodes, line.node), *tried]
