"""Replicas: pieces that several devices must answer, and who is asked next.

A piece with a panel waits under the places that were asked already, so that a runner finds in a
few steps what it may take: no device is asked the same twice, and, as long as there are nodes
enough, no node either.
"""

from collections import deque
from collections.abc import Iterator

from qallow_agent.base.agreement import majority
from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.jobs.lines import Line
from qallow_agent.jobs.panel import MOST_ANSWERS, Answer, Panel
from qallow_agent.jobs.roll import Roll
from qallow_agent.jobs.work import Piece

_NO_TIE = "add a node: a third device decides who is right; 'qallow-agent devices' shows what is up"
_NO_PLACE = "add a node, or ask fewer devices; 'qallow-agent devices' shows what is up"

Verdict = tuple[str, str, str]
"""Code, message and hint of a failure."""


class Replicas:
    """Knows every panel that lacks a place, and which runner may fill it.

    Args:
        wanted: Answers that every piece of the job needs; 1 for plain work.
        patience_s: How long a piece may wait for a device that nobody has, before it fails.
        tie_s: How long two that differ may wait for a third.
    """

    def __init__(self, wanted: int, patience_s: Seconds, tie_s: Seconds) -> None:
        self.wanted = wanted
        self._patience_s = patience_s
        self._tie_s = tie_s
        self._queues: dict[tuple[str, ...], deque[Piece]] = {}
        self.roll = Roll()
        self.places_wanted = wanted
        """Different devices the job could use."""
        self._now: Seconds = 0.0
        self._sent: list[Piece] = []
        self._short_s: Seconds | None = None
        """Since when there are fewer devices than the job could use."""

    @property
    def waiting(self) -> bool:
        """Whether a panel lacks a place."""
        return bool(self._queues)

    @property
    def missing(self) -> int:
        """Different devices that are wanted and on which there is no runner."""
        return 0 if self.places_wanted < 2 else max(0, self.places_wanted - self.roll.places)  # noqa: PLR2004

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def seat(self, piece: Piece) -> None:
        """Let a piece wait for one more place, if its panel lacks one."""
        panel = piece.panel
        if panel is not None and panel.lacking > 0:
            panel.since_s = self._now
            self._queues.setdefault(panel.asked, deque()).append(piece)

    def next_for(self, line: Line) -> Piece | None:
        """Return a piece that this runner may answer too, the longest waiting of its kind."""
        for key in list(self._queues):
            piece = self._first(key)
            if piece is None or piece.panel is None or not line.fits(piece.input_bytes):
                continue
            # An audit waits for a device on trial, if there is one, until that was asked.
            wanted = self.roll.trying and piece.panel.shadow and not self.roll.tries(key)
            if line.shadow != wanted:
                continue
            spread = self.roll.nodes >= piece.panel.wanted  # so that each node is asked only once
            if line.place in key or (spread and not line.shadow and _on_node(line.node, key)):
                continue
            self._queues[key].popleft()
            if not self._queues[key]:
                del self._queues[key]
            return piece
        return None

    def sent(self, piece: Piece, line: Line, now: Seconds) -> None:
        """Note that a runner is asked; ``seat_sent`` lets more be asked, once this one was told.

        A piece travels with the number of its newest attempt, so it leaves once at a time.
        """
        if piece.panel is None:
            piece.panel = Panel(self.wanted)
            piece.whole = True
        self._now = now
        piece.panel.flying.append(line.place)
        self._sent.append(piece)

    def seat_sent(self) -> None:
        """Let the pieces that were sent wait for the places that they lack."""
        sent, self._sent = self._sent, []
        for piece in sent:
            self.seat(piece)

    def answered(self, piece: Piece, line: Line) -> Answer | None:
        """Return where the answer of a runner belongs; None when it is of no use any more."""
        panel = piece.panel
        if panel is None or line.place not in panel.flying:
            return None
        panel.flying.remove(line.place)
        if piece.settled:
            return None
        answer = Answer(line.place, line.label)
        panel.answers.append(answer)
        return answer

    def lost(self, piece: Piece, line: Line) -> None:
        """Take back that a runner is at a piece."""
        if piece.panel is not None and line.place in piece.panel.flying:
            piece.panel.flying.remove(line.place)

    def judge(
        self, piece: Piece, panel: Panel, classes: tuple[int, ...]
    ) -> Answer | Verdict | None:
        """Return the answer that counts, why there is none, or None when one more must decide.

        Args:
            piece: Its panel is full.
            panel: Its panel.
            classes: Class of each answer.
        """
        panel.classes = classes
        winner = majority(classes)
        if winner is not None:
            return panel.answers[classes.index(winner)]
        if len(panel.answers) < MOST_ANSWERS:
            panel.wanted = MOST_ANSWERS
            self.places_wanted = MOST_ANSWERS
            self.seat(piece)
            return None
        return "result-disagreement", f"no two devices agree: {panel.labels()}", _NO_TIE

    def overdue(self, now: Seconds) -> Iterator[tuple[Piece, Answer | Verdict]]:
        """Yield the pieces that wait in vain: no runner is on a device that may be asked."""
        self._now = now
        if not self.missing:
            self._short_s = None
        elif self._short_s is None:
            self._short_s = now
        for key in list(self._queues):
            if self.roll.has_other(key):
                continue
            while (piece := self._first(key)) is not None and piece.panel is not None:
                if self._due_s(piece.panel) > now:
                    break
                self._queues[key].popleft()
                yield piece, self._vain(piece.panel)
            if key in self._queues and not self._queues[key]:
                del self._queues[key]

    def next_deadline(self) -> Seconds | None:
        """Return when a piece has waited long enough for a device that nobody has."""
        found: Seconds | None = None
        for key in list(self._queues):
            piece = None if self.roll.has_other(key) else self._first(key)
            if piece is not None and piece.panel is not None:
                due_s = self._due_s(piece.panel)
                found = due_s if found is None else min(found, due_s)
        return found

    def holds(self, piece: Piece) -> bool:
        """Return whether a piece waits here, or for its answers to be compared."""
        panel = piece.panel
        return panel is not None and (panel.full or piece in self._queues.get(panel.asked, ()))

    def _due_s(self, panel: Panel) -> Seconds:
        """Return when a panel has waited long enough for a device that nobody has.

        One that is decided already does not wait again where others waited before.
        """
        if panel.decided:
            return panel.since_s if self._short_s is None else self._short_s + self._tie_s
        short = panel.tied or panel.shadow or panel.faults
        return panel.since_s + (self._tie_s if short else self._patience_s)

    def _vain(self, panel: Panel) -> Answer | Verdict:
        """Return what becomes of a panel that got no further place."""
        if panel.decided:
            return panel.answers[0]
        if panel.faults:
            fault = panel.faults[0][1]
            return fault.code, fault.message, fault.hint
        if panel.tied:
            why = f"{panel.labels()} disagree, and no third device came within "
            return "result-disagreement", why + show_seconds(self._tie_s), _NO_TIE
        there = self.roll.places
        why = (
            f"each task needs the answers of {panel.wanted} different devices, and there were "
            f"runners on {there} for {show_seconds(self._patience_s)}"
        )
        return "no-device", why, _NO_PLACE

    def _first(self, key: tuple[str, ...]) -> Piece | None:
        """Return the first piece that still waits under a key; forget those before it."""
        queue = self._queues.get(key)
        while queue:
            piece = queue[0]
            panel = piece.panel
            if not piece.settled and panel is not None and panel.lacking > 0 and panel.asked == key:
                return piece
            queue.popleft()
        self._queues.pop(key, None)
        return None


def _on_node(node: str, places: tuple[str, ...]) -> bool:
    return any(place.partition("/")[0] == node for place in places)
