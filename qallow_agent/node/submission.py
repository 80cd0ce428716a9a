"""Submissions: judge a job against its kernel's spec, and find devices when the desk asks."""

from collections.abc import Callable

import msgspec

from qallow_agent.base.errors import (
    DeadlineExceeded,
    Forbidden,
    InvariantBroken,
    JobRejected,
    NotAdmitted,
    NotAllowed,
)
from qallow_agent.base.ids import Entropy, JobId, Sender
from qallow_agent.base.machine import Announce, Effect, Instant
from qallow_agent.base.message import Message
from qallow_agent.jobs.local import Choice, PlacementMade, PlacementWanted
from qallow_agent.jobs.messages import Demand, SubmitJob
from qallow_agent.jobs.model import Terms
from qallow_agent.jobs.story import MOST_JUDGED, Judged, short
from qallow_agent.node.grants import check_submission
from qallow_agent.node.permissions import SUBMITTERS
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.node.survey import Survey, request_of
from qallow_agent.placement.budget import objection
from qallow_agent.placement.forecast import forecast, judge, useful_slots
from qallow_agent.placement.request import Decision
from qallow_agent.placement.router import choose

_DENIALS = {"refuses": NotAdmitted.code, "forbids": Forbidden.code}


class Submissions:
    """Carries jobs between the kernels' specs, the desk, the advert book and the router.

    Args:
        me: Who this node is.
        rooms: Its rooms.
        survey: The devices there are.
        rng: Entropy for the router's draws.
    """

    def __init__(self, me: Self, rooms: Rooms, survey: Survey, rng: Entropy) -> None:
        self._me = me
        self._rooms = rooms
        self._survey = survey
        self.rng = rng
        """Entropy for draws, dry runs included."""
        self.words_of: Callable[[str, JobId, Instant], bytes] = lambda *_: b""
        """Tells a job all of why the gate of a device, named by its key, is closed."""

    def submit(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Validate a job against its kernel and hand it to the desk.

        Raises:
            NotAllowed: This node may not submit this: no bench would serve it.
            UnknownKernel: This node does not know the kernel; the hint names the closest.
            BadParameter: A parameter is wrong; the message names kernel, parameter and bounds.
            DeadlineExceeded: It cannot be done in time; the hint says what could be.
            JobRejected: It cannot be done within its budget of energy, or nobody could tell.
        """
        if not isinstance(message, SubmitJob):
            raise InvariantBroken(f"{type(message).__name__} is no submission")
        roles = self._rooms.doorkeeper.roles_of(self._me.node)
        if not any(role in SUBMITTERS for role in roles):
            raise NotAllowed(
                f"this node may not submit jobs: it holds the roles {', '.join(roles) or 'none'}",
                hint="submit from another node, or join it again with an invite --role submitter",
            )
        check_submission(self._rooms, self._me.node, message.kernel, now)
        terms = self.terms_of(message)
        key = message.options.idempotency_key
        if self._rooms.desk.account_of(JobId(""), key=key) is None:
            message, terms = self._admit(message, terms, now)
        return self._rooms.desk.submit(sender, message, terms, now)

    def terms_of(self, order: SubmitJob) -> Terms:
        """Return what the kernel's spec says of an order.

        Raises:
            UnknownKernel: This node does not know the kernel; the hint names the closest.
            BadParameter: A parameter is wrong; the message names kernel, parameter and bounds.
        """
        entry = self._rooms.catalog.entry(order.kernel)
        spec = entry.kernel.spec
        values = spec.validate(order.sample, swept=order.extremes, shapes=order.shapes)
        needed = spec.demand(values, shapes=order.shapes)
        demand = Demand(
            ops=needed.ops,
            memory_bytes=needed.memory_bytes,
            input_bytes=needed.input_bytes,
            output_bytes=needed.output_bytes,
        )
        return Terms(entry.hash, demand, spec.warnings(values, order.extremes))

    def place(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Answer the desk's wish for leases from the newest adverts."""
        del sender
        if not isinstance(message, PlacementWanted):
            raise InvariantBroken(f"{type(message).__name__} is no wish for leases")
        needs = self._rooms.desk.needs(message.job)
        if needs is None:
            return []
        decision = choose(
            request_of(needs.order, needs.terms, message.slots, message),
            self._survey.candidates(needs.order.kernel, now.mono_s),
            self._rooms.placement,
            self.rng,
        )
        choices = tuple(
            Choice(each.node, each.device, each.slots, each.why, each.cold)
            for each in decision.choices
        )
        made = PlacementMade(
            message.job,
            choices,
            decision.reason,
            decision.hint,
            never=decision.never,
            judged=judged(decision),
            more=max(0, len(decision.explanation) - MOST_JUDGED),
            denied=_DENIALS.get(decision.denied, ""),
            document=self.words_of(decision.closed, message.job, now) if decision.closed else b"",
        )
        return [Announce(made)]

    def _admit(self, order: SubmitJob, terms: Terms, now: Instant) -> tuple[SubmitJob, Terms]:
        """Return a job with as many slots as are of use; refuse limits that cannot be kept."""
        if order.points < 1 and not order.options.max_joules:
            return order, terms
        candidates = self._survey.candidates(order.kernel, now.mono_s)
        settings = self._rooms.placement
        request = request_of(order, terms, max(1, order.slots))
        over = objection(request, candidates, settings)
        if over is not None:
            raise JobRejected(over.why, hint=over.fix)
        if order.points < 1:
            return order, terms
        deadline_s = order.options.deadline_s
        if deadline_s > 0:
            verdict = judge(request, deadline_s, forecast(request, candidates, settings))
            if verdict.why:
                raise DeadlineExceeded(verdict.why, hint=verdict.hint, retryable=True)
            if verdict.doubt:
                terms = Terms(terms.kernel_hash, terms.demand, (*terms.warnings, verdict.doubt))
        slots = min(order.slots, useful_slots(request, candidates, settings))
        return msgspec.structs.replace(order, slots=slots), terms


def judged(decision: Decision) -> tuple[Judged, ...]:
    """Return the verdicts of a decision that are worth keeping: the chosen, then the best."""
    ranked = sorted(decision.explanation, key=lambda each: not each.slots)
    return tuple(
        Judged(each.label, each.score, short(each.why), each.slots, each.lasting, each.change)
        for each in ranked[:MOST_JUDGED]
    )
