"""The court: what an answer, a fault, a loss or a dead runner means for a piece."""

import math

from qallow_agent.base.errors import CheckpointCorrupt
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.backlog import Backlog
from qallow_agent.jobs.lines import Line
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.panel import Answer
from qallow_agent.jobs.parcels import Fault
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Agreed, Failed, Finished, Outcome, Piece, Tally


class Court:
    """Settles pieces, or sends them back to the backlog, and keeps the counts.

    Args:
        backlog: Where pieces that are run again go.
        settings: How many strikes and splits there are.
        retries: Times a piece is run again after its executor was lost.
    """

    def __init__(self, backlog: Backlog, settings: DispatchSettings, retries: int) -> None:
        self._backlog = backlog
        self._settings = settings
        self._retries = retries
        self._splits = 0
        self.kills = 0
        """Runners killed since the last pardon."""
        self.tally = Tally()
        self.share: dict[str, int] = {}
        """Finished points by ``node-name/device``."""

    def pardon(self) -> None:
        """Start the budgets of kills and splits anew: what used them up is over."""
        self._splits = 0
        self.kills = 0

    def finish(self, piece: Piece, line: Line, seconds: Seconds, index: int) -> Finished:
        """Settle a piece with its result."""
        seconds = seconds if 0 <= seconds < math.inf else 0.0
        line.measure(piece, seconds)
        self._backlog.settle(piece)
        self.tally.done += piece.points
        self.share[line.label] = self.share.get(line.label, 0) + piece.points
        return Finished(piece, seconds, index)

    def agree(self, piece: Piece, answer: Answer) -> Agreed:
        """Settle a piece with the answer that most of its panel gave."""
        self._backlog.settle(piece)
        self.tally.done += piece.points
        self.share[answer.label] = self.share.get(answer.label, 0) + piece.points
        return Agreed(piece, answer)

    def split(self, piece: Piece) -> bool:
        """Replace a slice by smaller ones, unless that was done too often; say whether."""
        if piece.points < 2 or self._splits >= self._settings.most_splits:  # noqa: PLR2004
            return False
        self._splits += 1
        self._backlog.split(piece)
        return True

    def fail(self, piece: Piece, code: str, message: str, hint: str, traceback: str = "") -> Failed:
        """Settle a piece that failed."""
        self.tally.failed += piece.points
        return self.end(piece, code, message, hint, traceback)

    def end(self, piece: Piece, code: str, message: str, hint: str, traceback: str = "") -> Failed:
        """Settle a piece without a result, as its job is over: that is no failure of its own."""
        self._backlog.settle(piece)
        return Failed(piece, code, message, hint, traceback)

    def faulted(self, piece: Piece, fault: Fault) -> list[Outcome]:
        """Fail a single task; split a slice, so that only its faulty points fail."""
        if self.split(piece):
            return []
        if fault.code == CheckpointCorrupt.code and piece.points == 1:
            return self.lose(piece, fault.message, innocent=False)  # from an older state, or anew
        return [self.fail(piece, fault.code, fault.message, fault.hint, fault.traceback)]

    def strike(self, piece: Piece, code: str, reason: str) -> list[Outcome]:
        """Hold a piece to account for a runner it killed."""
        self.tally.kills += 1
        self.kills += 1
        piece.strikes += 1
        if piece.points > 1:
            self.tally.rerun += piece.points
            self._backlog.split(piece)
            return []
        if code == LeaseEnd.OVERRAN:
            hint = "raise task_limit or make the task smaller"
            return [self.fail(piece, "deadline", reason, hint)]
        if piece.strikes >= self._settings.poison_strikes:
            message = f"the task killed its runner {piece.strikes} times: {reason}"
            return [self.fail(piece, "kernel-failed", message, "it is not tried again")]
        return self.lose(piece, reason, innocent=True)

    def lose(self, piece: Piece, reason: str, *, innocent: bool) -> list[Outcome]:
        """Queue a piece again unless another attempt still flies or its retries are used up."""
        piece.losses += not innocent
        if piece.flying and piece.panel is None:
            return []
        if piece.losses > self._retries:
            message = f"its executor was lost {piece.losses} times: {reason}"
            return [self.fail(piece, "peer-lost", message, "raise retries or look at peers")]
        piece.hedged = False
        self.tally.rerun += piece.points
        self._backlog.again(piece)
        return []
