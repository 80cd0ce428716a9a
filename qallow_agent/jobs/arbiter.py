"""The arbiter: pieces that several devices answer, from the first answer to the verdict.

It never sees arrays: the owner compares what was answered, and says which answers are alike.
"""

from qallow_agent.base.units import Seconds
from qallow_agent.jobs.backlog import Backlog
from qallow_agent.jobs.court import Court
from qallow_agent.jobs.lines import Line
from qallow_agent.jobs.panel import Answer, Panel
from qallow_agent.jobs.parcels import Fault, ResultHead
from qallow_agent.jobs.replicas import Replicas
from qallow_agent.jobs.sampling import Sampler
from qallow_agent.jobs.work import Answered, Compared, Finished, Outcome, Piece

_MOST_SHADOWS = 16
"""Audits under way: each holds a result, and inputs, that nobody else needs any more."""

_MOST_TRIED = 4
"""Copies under way for a device on trial."""

_MOST_FAULTS = 2
"""Devices on which a task must fail before it has: one alone may lack memory."""


class Arbiter:
    """Collects the answers of panels, and begins audits of results that were delivered.

    Args:
        backlog: The pieces.
        court: Settles them.
        replicas: Who is asked next.
        sampler: Draws what is audited; None to audit nothing.
    """

    def __init__(
        self, backlog: Backlog, court: Court, replicas: Replicas, sampler: Sampler | None
    ) -> None:
        self._backlog = backlog
        self._court = court
        self._replicas = replicas
        self.sampler = sampler
        self._shadows: dict[int, Piece] = {}

    def heard(self, piece: Piece, line: Line, head: ResultHead, index: int) -> list[Outcome]:
        """Take in what one device of a panel answered.

        Args:
            piece: It has a panel.
            line: Whose answer it is; its lease is alive.
            head: The answer.
            index: Where its arrays are.
        """
        panel = piece.panel
        if panel is not None and head.fault is not None and not piece.settled:
            return self._faulted(piece, panel, line, head.fault)
        answer = self._replicas.answered(piece, line)
        if answer is None:
            self._court.tally.late += 1
            return []
        seconds = head.seconds if head.seconds >= 0 else 0.0
        if seconds < float("inf"):
            line.measure(piece, seconds)
        return [Answered(piece, answer, seconds, index)]

    def judged(self, piece: Piece, classes: tuple[int, ...]) -> list[Outcome]:
        """Settle a piece whose panel is full, or ask one more device.

        Args:
            piece: What was answered, perhaps not by all that are wanted yet.
            classes: Class of each answer of its panel, in their order: equal ones are alike.
        """
        panel = piece.panel
        if piece.settled or panel is None:
            return []
        panel.classes = classes
        verdict = self._replicas.judge(piece, panel, classes) if panel.full else None
        if verdict is None:
            return []
        if panel.shadow:
            self.drop(piece)
            return [Compared(piece)]
        if isinstance(verdict, Answer):
            return [self._court.agree(piece, verdict)]
        if self._court.split(piece):
            return [Compared(piece)]  # each liar may be alone at some of the points
        return [self._court.fail(piece, *verdict)]

    def overdue(self, now: Seconds) -> list[Outcome]:
        """End what waits in vain for a device that nobody has."""
        outcomes: list[Outcome] = []
        for piece, verdict in self._replicas.overdue(now):
            if piece.number in self._shadows:
                self.drop(piece)
                outcomes.append(Compared(piece))
            elif isinstance(verdict, Answer):
                self._court.tally.short += piece.points
                outcomes.append(self._court.agree(piece, verdict))
            elif not piece.settled:
                outcomes.append(self._court.fail(piece, *verdict))
        return outcomes

    def sampled(self, finished: Finished, line: Line) -> Finished:
        """Return a result that was delivered, with an audit of it where one is drawn.

        A single task with arrays is not audited: they are its owner's again now, who may change
        them.
        """
        piece = finished.piece
        sampler = self.sampler
        # A device on trial is kept at it, a few copies at a time.
        every = self._replicas.roll.trying and len(self._shadows) < _MOST_TRIED
        if sampler is None or not sampler.takes(finished.seconds, every=every):
            return finished
        changeable = piece.sweep is None and piece.input_bytes > 0
        if self._replicas.roll.places < 2 or changeable or len(self._shadows) >= _MOST_SHADOWS:  # noqa: PLR2004
            sampler.skipped += 1
            return finished
        sampler.begun += 1
        shadow = self._backlog.shadow(piece)
        shadow.panel = Panel(2, shadow=True)
        shadow.whole = True
        given = Answer(line.place, line.label)
        given.delivered = True
        shadow.panel.answers.append(given)
        self._shadows[shadow.number] = shadow
        self._replicas.seat(shadow)
        return Finished(piece, finished.seconds, finished.index, shadow)

    def drop(self, piece: Piece) -> bool:
        """Give an audit up, or end it; False when the piece is none."""
        piece_there = self._shadows.pop(piece.number, None)
        if piece_there is not None:
            piece.settled = True
        return piece_there is not None

    def drop_all(self) -> None:
        """Give every audit up: their job is over."""
        for piece in list(self._shadows.values()):
            self.drop(piece)

    def _faulted(self, piece: Piece, panel: Panel, line: Line, fault: Fault) -> list[Outcome]:
        """Ask another device instead; fail what fails on several, and split a slice."""
        self._replicas.lost(piece, line)
        if self.drop(piece):
            return []
        if piece.points > 1:
            return self._court.faulted(piece, fault)
        panel.faults.append((line.place, fault))
        if len(panel.faults) >= _MOST_FAULTS:
            return self._court.faulted(piece, fault)
        self._replicas.seat(piece)
        return []
