"""The jury: compares what several devices answered, and tells what came of it.

Equal bytes are equal answers. Where bytes differ, numbers decide, within what the kernel declares
of each output (``atol + rtol * |value|``; exact without either); NaN equals NaN.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from qallow_agent.base.agreement import grouped, majority
from qallow_agent.client.cargo import Cargo
from qallow_agent.client.results import Block
from qallow_agent.jobs.opinions import Comparison
from qallow_agent.jobs.panel import Answer, Panel
from qallow_agent.jobs.work import Piece

_MOST_PENDING: Final = 256
"""Comparisons not told yet; equal ones in a row are told as one."""

_DIGEST_BYTES: Final = 16

Tolerances = Mapping[str, tuple[float, float]]
"""Output -> absolute and relative difference that backends may have."""

NO_TOLERANCES: Final[Tolerances] = MappingProxyType({})


class Jury:
    """Groups answers and keeps account.

    Args:
        tolerances: What the kernel declares; outputs that are not named must be exact.
    """

    def __init__(self, tolerances: Tolerances) -> None:
        self.tolerances = tolerances
        self._pending: list[Comparison] = []
        self.untold = 0
        """Comparisons that were too many to be told."""

    def classes(self, panel: Panel) -> tuple[int, ...]:
        """Return the class of each answer of a panel; they are put into the order of places.

        In that order, not in that of arrival, whoever groups the same answers finds the same.
        """
        panel.answers.sort(key=lambda answer: answer.place)
        blocks = [_block(answer) for answer in panel.answers]
        return grouped(len(blocks), lambda one, other: self._alike(blocks[one], blocks[other]))

    def note(self, piece: Piece, task: bytes) -> str:
        """Take down a comparison that is over; return what its owner should know, if anything.

        Args:
            piece: Its panel's answers are in classes.
            task: Digest of its parameters.
        """
        panel = piece.panel
        if panel is None or len(panel.classes) < 2:  # noqa: PLR2004
            return ""
        places = tuple(answer.place for answer in panel.answers)
        found = Comparison(places, panel.classes, shadow=panel.shadow)
        if len(set(panel.classes)) > 1:
            digests = tuple(digest_of(_block(answer)) for answer in panel.answers)
            found = Comparison(
                places,
                panel.classes,
                task=task,
                digests=digests,
                point=piece.start,
                shadow=panel.shadow,
            )
        self._add(found)
        return _doubt(piece, panel)

    def take(self) -> tuple[Comparison, ...]:
        """Return what is to be told, and forget it."""
        pending, self._pending = tuple(self._pending), []
        return pending

    def _add(self, found: Comparison) -> None:
        plain = not found.task
        for number, known in enumerate(self._pending):
            if plain and not known.task and known.places == found.places:
                times = known.times + 1
                self._pending[number] = Comparison(
                    known.places, known.classes, times, shadow=known.shadow
                )
                return
        if len(self._pending) < _MOST_PENDING:
            self._pending.append(found)
        else:
            self.untold += 1

    def _alike(self, one: Block, other: Block) -> bool:
        if one.same_bytes(other):
            return True
        from qallow_agent.client.arrays import alike  # noqa: PLC0415 - brings NumPy

        return alike(one.arrays(), other.arrays(), self.tolerances)


def digest_of(block: Block) -> bytes:
    """Return the digest of an answer: names, dtypes, shapes and bytes of its arrays."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=b"qallow-answer")
    for head, frame in block.parts():
        digest.update(json.dumps([head.name, head.dtype, *head.shape]).encode())
        digest.update(frame)
    return digest.digest()


def task_digest(scalars: Mapping[str, Any], buffers: Iterable[Any]) -> bytes:
    """Return the digest of a task's parameters; large arrays count by the name they travel by."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=b"qallow-task")
    digest.update(json.dumps(dict(scalars), sort_keys=True, default=str).encode())
    for buffer in buffers:
        digest.update(buffer.name if isinstance(buffer, Cargo) else buffer)
    return digest.digest()


def _doubt(piece: Piece, panel: Panel) -> str:
    """Return what is to be said of a result that was delivered before others disagreed with it."""
    if not panel.shadow or len(set(panel.classes)) < 2:  # noqa: PLR2004
        return ""
    winner = majority(panel.classes)
    for answer, number in zip(panel.answers, panel.classes, strict=True):
        if answer.delivered and number != winner:
            task = "it" if piece.points < 2 else f"points {piece.start} and following"  # noqa: PLR2004
            sure = "is wrong" if winner is not None else "may be wrong"
            return (
                f"a result that {answer.label} gave and that was delivered {sure}: "
                f"{panel.labels()}; run {task} again with verify=2 or 3"
            )
    return ""


def _block(answer: Answer) -> Block:
    content = answer.content
    assert isinstance(content, Block)  # noqa: S101 - for the type checker; the team put it there
    return content
