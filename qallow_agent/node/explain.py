"""Explanations: why a job runs where it does, how placement sees a node, what would be chosen."""

from typing import Any

import msgspec

from qallow_agent.base.errors import JobNotFound, UsageError
from qallow_agent.base.ids import JobId, NodeId, Sender
from qallow_agent.base.machine import Effect, Instant, Reply
from qallow_agent.base.message import Report
from qallow_agent.ethics.spelling import spelled
from qallow_agent.jobs import causality
from qallow_agent.jobs.messages import SubmitJob
from qallow_agent.jobs.model import JobRecord
from qallow_agent.jobs.story import MOST_JUDGED, Decided
from qallow_agent.mesh.wire.kinds import DeviceAdvert, MemberRecord
from qallow_agent.node.commands import Explain
from qallow_agent.node.documents import Document, merge_devices
from qallow_agent.node.gatehouse import report_document, signals
from qallow_agent.node.governance import Governance
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.node.submission import Submissions, judged
from qallow_agent.node.survey import Survey, request_of
from qallow_agent.placement.forecast import forecast, judge, useful_slots
from qallow_agent.placement.router import choose

SCHEMA = "qallow.explain/v1"
_JOB = "job-"


class Explanations:
    """Answers ``explain``; changes nothing.

    Args:
        me: Who this node is.
        rooms: Its rooms.
        survey: The devices there are.
        submissions: Knows what a kernel's spec says of an order.
        governance: Knows what the gates of this node look at.
    """

    def __init__(
        self,
        me: Self,
        rooms: Rooms,
        survey: Survey,
        submissions: Submissions,
        governance: Governance,
    ) -> None:
        self._me = me
        self._governance = governance
        self._rooms = rooms
        self._survey = survey
        self._submissions = submissions

    def answer(self, sender: Sender, query: Explain, now: Instant) -> list[Effect]:
        """Answer with the document about a job, a node, or an order that was not placed.

        Raises:
            JobNotFound: No job here, and no node, is called so.
            UsageError: Several nodes are; or nothing was asked.
            UserError: What is wrong with an order.
        """
        if query.order is not None:
            document = self._order(query.order, now)
        elif not query.subject:
            raise UsageError("nothing to explain", hint="name a job, a node, or --kernel")
        else:
            record = self._rooms.desk.account_of(JobId(query.subject))
            document = self._node(query.subject, now) if record is None else self._job(record)
        return [Reply(sender, Report(SCHEMA, {"schema": SCHEMA, **document}))]

    # --- a job ------------------------------------------------------------------------------------

    def _job(self, record: JobRecord) -> Document:
        story = record.story
        return {
            "about": "job",
            "job": record.id,
            "kernel": record.kernel,
            "state": record.state.value,
            "options": msgspec.to_builtins(record.options),
            "points": record.points,
            "share": dict(record.share),
            "graph": self._graph(record),
            "why": record.error,
            "hint": record.hint,
            "refusal": spelled(record.refusal),
            "decisions": [_decision(each) for each in story.decisions],
            "passages": [
                {
                    "at_s": each.at_s,
                    "what": each.what,
                    "where": self._label(each.where),
                    "why": each.why,
                }
                for each in story.passages
            ],
        }

    def _graph(self, record: JobRecord) -> Document:
        labels = {each.where: self._label(each.where) for each in record.story.passages}
        return causality.document(causality.causes(record, labels))

    def _label(self, place: str) -> str:
        """Return ``node-id/device`` with the node's name, as far as it is known."""
        node, slash, device = place.partition("/")
        record = self._rooms.membership.record_of(NodeId(node))
        return place if record is None else f"{record.name}{slash}{device}"

    # --- a node -----------------------------------------------------------------------------------

    def _node(self, subject: str, now: Instant) -> Document:
        found = [
            record
            for record in self._rooms.membership.members()
            if subject in {record.node, record.name}
        ]
        if not found:
            what = "job" if subject.startswith(_JOB) else "job and no node"
            hint = "see: qallow-agent jobs; a job is known at the node where it was submitted"
            raise JobNotFound(f"no {what} {subject!r} is known here", hint=hint)
        if len(found) > 1:
            why = f"{len(found)} members are called {subject!r}"
            raise UsageError(why, hint="'qallow-agent peers' shows ids")
        record = found[0]
        advert = self._rooms.adverts.snapshot().get(record.node)
        devices = () if advert is None else advert.devices
        if record.node == self._me.node:
            devices = self._governance.told(merge_devices(devices, self._rooms))
        return {
            "about": "node",
            "node": record.node,
            "name": record.name,
            "state": record.state.value,
            "roles": [role.value for role in self._rooms.doorkeeper.roles_of(record.node)],
            "rtt_s": self._survey.rtt_s(record.node),
            "bandwidth_bytes_s": self._survey.experience.link(record.node),
            "advertised": advert is not None,
            "devices": [self._device(record, device, now) for device in devices],
            "refusals": [
                {"at_s": at_s, "job": job, "device": device, "why": why}
                for at_s, job, node, device, why in self._rooms.desk.refusals
                if node == record.node
            ],
        }

    def _device(self, record: MemberRecord, device: DeviceAdvert, now: Instant) -> Document:
        key = f"{record.node}/{device.name}"
        seen = self._survey.experience
        own = record.node == self._me.node
        known = self._governance.judged.get(device.name)
        canaries = {each.name: each.canary for each in self._rooms.bench.device_states()}
        return {
            "device": device.name,
            "kind": device.kind,
            "model": device.model,
            "state": device.state.value,
            "why": device.why,
            "canary": canaries.get(device.name, "") if own else "",
            "cooling": seen.cooling(key, now.mono_s),
            "slots": device.slots,
            "busy": device.busy,
            "warm": device.warm,
            "waiting": device.waiting,
            "memory_bytes": device.memory_bytes,
            "reserved_bytes": device.reserved_bytes,
            "start_s": seen.start_s(key),
            "rates": dict(device.rates),
            "tried": list(device.tried),
            "simulated": device.simulated,
            "gate": report_document(device.gate),
            "signals": signals(known) if own else [],
            "evidence": msgspec.to_builtins(known.evidence) if own and known else None,
        }

    # --- an order ---------------------------------------------------------------------------------

    def _order(self, order: SubmitJob, now: Instant) -> Document:
        terms = self._submissions.terms_of(order)
        settings = self._rooms.placement
        candidates = self._survey.candidates(order.kernel, now.mono_s)
        request = request_of(order, terms, max(1, order.slots))
        slots = useful_slots(request, candidates, settings) if order.points else request.slots
        decision = choose(
            request_of(order, terms, slots), candidates, settings, self._submissions.rng
        )
        found = forecast(request, candidates, settings)
        verdict = judge(request, order.options.deadline_s, found)
        decided = Decided(
            now.wall_s,
            slots,
            judged(decision),
            max(0, len(decision.explanation) - MOST_JUDGED),
            decision.reason,
            decision.hint,
        )
        return {
            "about": "kernel",
            "kernel": order.kernel,
            "ops": terms.demand.ops,
            "memory_bytes": terms.demand.memory_bytes,
            "options": msgspec.to_builtins(order.options),
            "points": order.points,
            "needs_s": None if found is None else found.needs_s,
            "refused": verdict.why,
            "hint": verdict.hint,
            "warnings": [*terms.warnings, *([verdict.doubt] if verdict.doubt else [])],
            "decisions": [_decision(decided)],
        }


def _decision(decided: Decided) -> dict[str, Any]:
    return {
        "at_s": decided.at_s,
        "wanted": decided.wanted,
        "times": decided.times,
        "reason": decided.reason,
        "hint": decided.hint,
        "more": decided.more,
        "verdicts": [
            {
                "where": each.label,
                "slots": each.slots,
                "score": each.score,
                "why": each.why,
                "lasting": each.lasting,
                "change": each.change,
            }
            for each in decided.judged
        ],
    }
