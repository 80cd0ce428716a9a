"""A panel: the devices that are asked one piece, so that their answers can be compared."""

from qallow_agent.base.units import Seconds
from qallow_agent.jobs.parcels import Fault

MOST_ANSWERS = 3
"""Two that differ get a third; three that all differ are no business of a fourth."""


class Answer:
    """What one device answered.

    Args:
        place: ``node/device``.
        label: ``node-name/device``, for people.
    """

    __slots__ = ("content", "delivered", "label", "place")

    def __init__(self, place: str, label: str) -> None:
        self.place = place
        self.label = label
        self.content: object = None
        """The caller's own: its arrays."""
        self.delivered = False
        """It went to whoever waits before it was compared."""


class Panel:
    """Which devices are asked one piece, and what they answered.

    Args:
        wanted: Answers that are wanted, each of another device.
        shadow: The result was delivered already: only the comparison matters.
    """

    __slots__ = ("answers", "classes", "faults", "flying", "shadow", "since_s", "wanted")

    def __init__(self, wanted: int, *, shadow: bool = False) -> None:
        self.wanted = wanted
        self.shadow = shadow
        self.flying: list[str] = []
        """Places that are at it."""
        self.answers: list[Answer] = []
        self.faults: list[tuple[str, Fault]] = []
        """Places that could not answer, and why."""
        self.classes: tuple[int, ...] = ()
        """Class of each answer there is, once they were compared."""
        self.since_s: Seconds = 0.0
        """Since when it waits for one more place."""

    @property
    def asked(self) -> tuple[str, ...]:
        """Places that are, or were, asked: none is asked twice."""
        answered = [answer.place for answer in self.answers]
        return tuple(sorted([*self.flying, *answered, *(place for place, _ in self.faults)]))

    @property
    def lacking(self) -> int:
        """Places still to be asked."""
        return self.wanted - len(self.flying) - len(self.answers)

    @property
    def full(self) -> bool:
        """Whether every answer that is wanted is there."""
        return len(self.answers) >= self.wanted

    @property
    def tied(self) -> bool:
        """Whether its answers differ so that one more must decide."""
        return len(set(self.classes)) > 1 and not self.full

    @property
    def decided(self) -> bool:
        """Whether two of three are alike already: the third cannot change what most answer."""
        alike = len(self.answers) > 1 and len(set(self.classes)) == 1
        return alike and len(self.classes) == len(self.answers) == self.wanted - 1

    def labels(self) -> str:
        """Return who answered what, for people."""
        if not self.classes:
            return ", ".join(answer.label for answer in self.answers)
        groups: dict[int, list[str]] = {}
        for answer, number in zip(self.answers, self.classes, strict=False):
            groups.setdefault(number, []).append(answer.label)
        return " against ".join(" and ".join(labels) for labels in groups.values())
