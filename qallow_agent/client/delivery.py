"""Delivery: outcomes on their way from the dispatcher to whoever waits for them.

What several devices answered stops here until the answers were compared.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from qallow_agent.base.units import Seconds
from qallow_agent.client.futures import remote_error
from qallow_agent.client.jury import Jury, task_digest
from qallow_agent.client.keeper import Keeper
from qallow_agent.client.payload import Payload
from qallow_agent.client.results import Block
from qallow_agent.jobs.arbiter import Arbiter
from qallow_agent.jobs.work import Agreed, Answered, Failed, Finished, Outcome, Piece

_log = logging.getLogger(__name__)

_NEWEST: Final = 0.2


class Delivery:
    """Gives outcomes to the payload, and answers to the jury.

    Args:
        payload: Takes the outcomes.
        arbiter: Is told which answers are alike.
        jury: Compares them.
        keeper: Collects results that the desk shall retain, if any.
    """

    def __init__(
        self, payload: Payload, arbiter: Arbiter, jury: Jury, keeper: Keeper | None
    ) -> None:
        self._payload = payload
        self._arbiter = arbiter
        self._jury = jury
        self._keeper = keeper
        self.point_s: Seconds | None = None
        """Device seconds of one point, of late."""
        self.first_error = ""

    def settle(
        self,
        outcomes: Iterable[Outcome],
        block_of: Callable[[int], Block] | None = None,
        document: dict[str, Any] | None = None,
    ) -> None:
        """Take outcomes to whoever waits for them.

        Args:
            outcomes: What the dispatcher settled, or wants compared.
            block_of: Returns the arrays of a result of the parcel at hand.
            document: All of why what fails does, where there is more to it than a message.
        """
        for outcome in outcomes:
            piece = outcome.piece
            if isinstance(outcome, Finished | Answered):
                if block_of is None:
                    continue
                block = block_of(outcome.index)
                block.start, block.points = piece.start, piece.points
                self._measure(outcome.seconds / max(piece.points, 1))
                if isinstance(outcome, Answered):
                    outcome.answer.content = block
                    self._compare(piece)
                    continue
                if outcome.audit is not None and outcome.audit.panel is not None:
                    outcome.audit.panel.answers[0].content = block
                self._deliver(piece, block)
            elif isinstance(outcome, Failed):
                self._judged(piece)
                self.first_error = self.first_error or outcome.message
                error = remote_error(outcome.code, outcome.message, outcome.hint, outcome.traceback)
                error.document = document or {}
                self._payload.failed(piece, error)
            else:
                self._judged(piece)
                if isinstance(outcome, Agreed) and isinstance(outcome.answer.content, Block):
                    self._deliver(piece, outcome.answer.content)

    def _measure(self, point_s: Seconds) -> None:
        known = self.point_s
        self.point_s = point_s if known is None else known + _NEWEST * (point_s - known)

    def _deliver(self, piece: Piece, block: Block) -> None:
        self._payload.finished(piece, block)
        if self._keeper is not None:
            self._keeper.add(block)

    def _compare(self, piece: Piece) -> None:
        """Say which answers of a panel are alike, once there are several."""
        if piece.panel is not None and len(piece.panel.answers) > 1:
            classes = self._jury.classes(piece.panel)
            self.settle(self._arbiter.judged(piece, classes))

    def _judged(self, piece: Piece) -> None:
        """Take down what a comparison came to."""
        panel = piece.panel
        if panel is None or not panel.classes:
            return
        task = b""
        if len(set(panel.classes)) > 1:
            head, buffers = self._payload.task(piece)
            task = task_digest(head.scalars, buffers)
        warning = self._jury.note(piece, task)
        if warning:
            _log.warning("warning: %s", warning)
