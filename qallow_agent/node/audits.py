"""The audits of a node: what its jobs' comparisons say of devices, and who is told.

The book counts; this decides what follows. Placement leaves a device alone whose agreement fell
below the bad end of its ramp, however its own node sees it; the device's node is told of each
dissent, and judges by itself.
"""

from collections.abc import Mapping
from typing import Final

from qallow_agent.base.agreement import majority
from qallow_agent.base.complaint import Complaint
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.machine import Effect, Instant, Persist, Send
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.audits import WHOLE, Audit, AuditBook
from qallow_agent.jobs.local import AuditsSeen
from qallow_agent.jobs.opinions import Comparison, Consent, Dissent
from qallow_agent.mesh.adverts.book import AdvertBook

NAME: Final = "ethics/audits"
_KEEP_S: Seconds = 60.0
"""At most so much is forgotten when the node ends without warning."""

_BAD: Final = 900_000
_AGAIN: Final = 940_000
"""A device that fell below ``_BAD`` is trusted again from here on: no flapping in between."""

_MOST_TOLD: Final = 16
"""Splits of one report that benches are told of: a few are enough to decide by."""

_FIX = (
    "its owner looks at its memory, clocks and heat; shadow copies of work that agree bring it back"
)


class Audits:
    """Takes in comparisons, keeps the book, and tells benches how their devices do.

    Args:
        kept: What was persisted under ``ethics/``.
        adverts: Who is on trial.

    Raises:
        StorageCorrupt: The book does not decode.
    """

    def __init__(self, kept: Mapping[str, bytes], adverts: AdvertBook) -> None:
        self._adverts = adverts
        self.book = AuditBook(kept.get(NAME, b""))
        self._out: dict[str, Complaint] = {}
        self._tried: dict[str, None] = {}
        self._keep_s: Seconds | None = None
        self._looked = False

    def receive(self, _: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in what a job's client compared."""
        if not isinstance(message, AuditsSeen):
            raise InvariantBroken(f"{type(message).__name__} is no comparison")
        effects: list[Effect] = []
        splits = 0
        for each in message.comparisons:
            self.book.add(Audit(each.places, each.classes, each.times), int(now.wall_s))
            if len(set(each.classes)) > 1:
                splits += 1
                effects += _dissents(message, each) if splits <= _MOST_TOLD else []
            elif each.shadow:
                effects += self._consents(each)
        if self._keep_s is None:
            self._keep_s = now.mono_s + _KEEP_S
        return [*effects, *self._judge(now)]

    def tick(self, now: Instant) -> list[Effect]:
        """Keep the book, and look again at what time has softened."""
        if self._keep_s is not None and self._keep_s > now.mono_s:
            return []
        self._keep_s = None
        self._looked = True
        judged = self._judge(now)
        return [*judged, Persist(NAME, self.book.pack())] if self.book.news else judged

    def next_deadline(self) -> Seconds | None:
        """Return when the book is to be kept."""
        return self._keep_s if self._looked else 0.0

    def check(self) -> None:
        """Raise InvariantBroken when a device is left alone that nothing is known against."""
        for place in self._out:
            if not self.book.dissents(place):
                raise InvariantBroken(f"{place} never dissented and is not trusted")

    def against(self, place: str) -> Complaint | None:
        """Return why this node gives a device no work; None when it may."""
        return self._out.get(place)

    def own_agreement(self, place: str, now: Instant, *, tried: bool) -> int | None:
        """Return the agreement of a device of ours in millionths; None where it does not count.

        While its bench tries it, it takes no work anyway, and copies must be let in to clear it;
        once cleared, it begins anew: else what it atoned for would keep it closed for a day.

        Args:
            place: ``node/device``.
            now: When.
            tried: Whether the bench has it in quarantine.
        """
        if tried:
            self._tried[place] = None
            return None
        if place in self._tried:
            del self._tried[place]
            self.book.forgive(place)
        return self.book.agreement(place, int(now.wall_s)) if self.book.audited(place) else None

    def complaints(self) -> dict[str, Complaint]:
        """Return ``node/device`` -> why it gets no work of this node."""
        return dict(self._out)

    def document(self) -> dict[str, object]:
        """Return what audits say of the mesh, as ``status`` shows it."""
        mesh = self.book.mesh()
        return {
            "audits": mesh.audits,
            "mesh_entropy": mesh.mesh_entropy / WHOLE if mesh.audits else None,
            "enough": mesh.enough,
            "text": mesh.text(),
        }

    def _consents(self, found: Comparison) -> list[Effect]:
        """Tell the devices on trial how often they agreed."""
        adverts = self._adverts.snapshot()
        effects: list[Effect] = []
        for place in found.places:
            node, _, name = place.partition("/")
            advert = adverts.get(NodeId(node))
            devices = () if advert is None else advert.devices
            if any(device.name == name and device.trial for device in devices):
                effects.append(Send(NodeId(node), Consent(name, found.times)))
        return effects

    def _judge(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for place in [each for each in self._out if not self.book.dissents(each)]:
            del self._out[place]  # the book has forgotten it
        for place in self.book.places():
            if not self.book.dissents(place):
                continue
            agreement = self.book.agreement(place, int(now.wall_s))
            out = agreement < (_AGAIN if place in self._out else _BAD)
            known = self._out.pop(place, None)
            if out:
                why = (
                    f"its answers disagree with those of others: {self.book.dissents(place)} of "
                    f"{self.book.audited(place):,} audits, agreement {agreement / WHOLE:.3f}"
                )
                self._out[place] = Complaint(why, _FIX)
            if out != (known is not None):
                effects.append(_told(place, self._out.get(place)))
        return effects


def _told(place: str, complaint: Complaint | None) -> Notice:
    facts: dict[str, str | int | float | bool | None] = {"place": place}
    if complaint is None:
        return Notice("audit.trusted", "a device is given work again", facts=facts)
    facts |= {"why": complaint.why, "fix": complaint.fix}
    return Notice("audit.distrusted", "a device is given no work", "error", facts)


def _dissents(seen: AuditsSeen, found: Comparison) -> list[Effect]:
    """Tell every device outside the majority; all of them when there is none."""
    winner = majority(found.classes)
    alike = 0 if winner is None else found.classes.count(winner)
    digests = found.digests or (b"",) * len(found.places)
    others = b"" if winner is None else digests[found.classes.index(winner)]
    effects: list[Effect] = []
    for place, number, digest in zip(found.places, found.classes, digests, strict=True):
        if number == winner:
            continue
        node, _, device = place.partition("/")
        dissent = Dissent(
            job=seen.job,
            kernel=seen.kernel,
            device=device,
            answers=len(found.places),
            alike=alike,
            task=found.task,
            theirs=digest,
            others=others,
        )
        effects.append(Send(NodeId(node), dissent))
    return effects
