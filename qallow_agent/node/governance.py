"""Governance: judges this node's own devices once a second, and opens or closes them to work.

The bench learns only whether a device may take work and why not; peers learn it from the advert;
people learn it from ``status`` and ``explain``; the ledger keeps what was decided.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import msgspec

from qallow_agent.base.errors import Forbidden, NotAdmitted
from qallow_agent.base.ids import JobId, NodeId, Sender
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.evidence import Evidence, Item, digest
from qallow_agent.ethics.gate import Admission as Verdicts
from qallow_agent.ethics.gate import Gate, Running, Verdict
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.refusal import Elsewhere, Position, Refusal, encode_refusal, refuse
from qallow_agent.ethics.score import Score, score
from qallow_agent.jobs.messages import LeaseRefusal, LeaseRequest
from qallow_agent.jobs.model import ADMITTED, DEFERRED, Admission, DeviceHealth
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.gate import GateReport, GateState
from qallow_agent.mesh.wire.kinds import DeviceAdvert
from qallow_agent.node.bylaws import Bylaws
from qallow_agent.node.clerk import Clerk
from qallow_agent.node.gathering import Gathering
from qallow_agent.node.quorum import ledger_items
from qallow_agent.node.remarks import score_of
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.node.survey import Survey
from qallow_agent.node.thrift import Thrift, warmer
from qallow_agent.node.validators import Validators
from qallow_agent.node.verdicts import brief, first_fix, heard, stage_of

TREND_S: Seconds = 10.0
"""Trends are told from evidence this old, and no older."""
_MOST_ELSEWHERE = 3
_THROTTLED = 0.5


class Law(Protocol):
    """What is in force on this node: the mesh's policy, the owner's, the hour, a pause."""

    @property
    def digest(self) -> bytes:
        """The digest of the mesh's policy."""
        ...

    def effective(self, now: Instant) -> Policy:
        """Return the policy that holds here and now."""
        ...


@dataclass(slots=True)
class Judged:
    """The newest judgement of a device, and what went before it.

    Args:
        refusal: Why new work is not admitted; None while it is.
        trail: Evidence of the last seconds, the newest last.
        position: Where the ledger holds the decision that stands; None while it does not.
    """

    evidence: Evidence
    score: Score
    verdict: Verdict
    policy: Policy
    refusal: Refusal | None = None
    trail: deque[Evidence] = field(default_factory=deque)
    position: Position | None = None


class Governance:
    """Judges devices and requests, and carries the verdicts to whom they concern.

    Args:
        me: Who this node is.
        rooms: Its rooms.
        survey: Knows the way to other nodes.
    """

    def __init__(self, me: Self, rooms: Rooms, survey: Survey) -> None:
        self._me = me
        self._rooms = rooms
        self._survey = survey
        self._gate = Gate()
        self._sensed: Sensed | None = None
        self._refused = 0
        self.law: Law = rooms.charter
        self.gathering = Gathering(me, rooms)
        self._bylaws = Bylaws(me, rooms)
        self.validators = Validators(me, rooms)
        self._clerk = Clerk(rooms.ledger, self.validators.written)
        self.gathering.commons += [self._bylaws.items, partial(ledger_items, rooms)]
        self._thrift = Thrift(me, rooms)
        self.gathering.extras += [self._audits, self._thrift.standing]
        self.judged: dict[str, Judged] = {}
        """The newest judgement of each own device that offers slots."""

    # --- once a second ----------------------------------------------------------------------------

    def sense(self, sensed: Sensed, now: Instant) -> list[Effect]:
        """Judge every own device by a fresh sample; the bench knows the devices already."""
        self._sensed = sensed
        found = "desktop" if sensed.desktop else "dedicated"
        told = self._rooms.charter.owner.look_like(found, now)
        return [*told, *self.look_again(now)]

    def look_again(self, now: Instant) -> list[Effect]:
        """Judge every own device by what is known: something else than a reading has changed."""
        if self._sensed is None:
            return []
        policy = self.law.effective(now)
        self.gathering.begin()
        self._gate.threshold = policy.threshold
        effects: list[Effect] = []
        offered = [device for device in self._sensed.devices if device.slots]
        for device in offered:
            effects += self._judge(device, self._sensed, policy, now)
        effects += self._clerk.write(now)
        self.validators.look(now)
        for name in [name for name in self.judged if name not in {each.name for each in offered}]:
            del self.judged[name]
            self._gate.forget(name)
        return effects

    def doubted(self, now: Instant, *, anew: bool) -> list[Effect]:
        """Judge at once when more or fewer peers than before refuse this node's log.

        Args:
            now: When.
            anew: Judge whether or not that is so: some log was found forked.
        """
        refused = self._rooms.council.certifier.refused_by
        if not anew and refused == self._refused:
            return []
        self._refused = refused
        return self.look_again(now)

    def _judge(
        self, device: DeviceAdvert, sensed: Sensed, policy: Policy, now: Instant
    ) -> list[Effect]:
        busy = any(each.name == device.name and each.busy for each in
                   self._rooms.bench.device_states())  # fmt: skip
        evidence = self.gathering.of(device, sensed, now, busy=busy)
        known = self.judged.get(device.name)
        trail = deque[Evidence]() if known is None else known.trail
        trail.append(evidence)
        while evidence.at_ms - trail[0].at_ms > TREND_S * 1000:
            trail.popleft()
        found = score(evidence, policy, evidence.at_ms)
        verdict = self._gate.judge(device.name, found, now.mono_s)
        judged = Judged(evidence, found, verdict, policy, trail=trail)
        self.judged[device.name] = judged
        noted: list[Effect] = []
        if known is None or known.verdict.admission is not verdict.admission:
            noted = self._clerk.note(evidence, found, verdict, policy, now)
            judged.position = self._clerk.position
        else:
            judged.position = known.position
        if verdict.admission is not Verdicts.ADMIT:
            judged.refusal = self._refusal(judged)
        return [*noted, *self._rooms.bench.admit(device.name, admission_of(judged), now)]

    def _audits(self, device: DeviceAdvert, now: Instant) -> tuple[Item, ...]:
        tried = any(each.name == device.name and each.state == DeviceHealth.QUARANTINED
                    for each in self._rooms.bench.device_states())  # fmt: skip
        place = f"{self._me.node}/{device.name}"
        share = self._rooms.audits.own_agreement(place, now, tried=tried)
        if share is None:
            return ()
        return (Item("h2", share, "ratio", now.wall_ns // 1_000_000, "audits"),)

    # --- a request -------------------------------------------------------------------------------

    def request(self, sender: Sender, wish: LeaseRequest, now: Instant) -> list[Effect]:
        """Judge one job's placement, and pass its request on to the bench unless it is refused."""
        judged = self.judged.get(wish.device)
        if judged is None:
            return self._rooms.bench.receive(sender, wish, now)
        placed = self._placed(judged, wish, now)
        self.validators.note_desk(wish.job, NodeId(sender))
        noted = [
            *self._clerk.note(placed.evidence, placed.score, placed.verdict, placed.policy, now),
            *self._clerk.write(now),  # asked at once, validators answer within milliseconds
        ]
        alone = judged.verdict.admission is Verdicts.ADMIT is not placed.verdict.admission
        if not alone:  # the bench itself says no where nobody is let in
            self._rooms.bench.scores[wish.device] = score_of(
                placed.score, digest(placed.evidence), placed.policy, self._rooms.ledger.origin
            )
            return [*noted, *self._rooms.bench.receive(sender, wish, now)]
        placed.position = self._clerk.position
        placed.refusal = self._refusal(placed)
        no = admission_of(placed)
        answer = LeaseRefusal(wish.job, wish.device, no.code, no.reason, no.hint, no.document)
        return [*noted, Send(NodeId(sender), answer)]

    def _placed(self, judged: Judged, wish: LeaseRequest, now: Instant) -> Judged:
        """Return the judgement of one job on a device, by what was just known of the device."""
        own = self._job_items(judged, wish, now)
        replaced = {item.signal for item in own}
        items = (*own, *(each for each in judged.evidence.items if each.signal not in replaced))
        at_ms = now.wall_ns // 1_000_000  # what was read too long ago counts as unknown by now
        evidence = msgspec.structs.replace(judged.evidence, job=wish.job, at_ms=at_ms, items=items)
        if not own:
            return replace(judged, evidence=evidence)
        found = score(evidence, judged.policy, evidence.at_ms)
        verdict = self._gate.look(wish.device, found, now.mono_s)
        return Judged(evidence, found, verdict, judged.policy, trail=judged.trail)

    def _job_items(self, judged: Judged, wish: LeaseRequest, now: Instant) -> tuple[Item, ...]:
        """Return the evidence that only this job's placement has."""
        sensed = () if self._sensed is None else self._sensed.devices
        device = next((each for each in sensed if each.name == wish.device), None)
        zone = self._bylaws.zone(wish.data_class, now)
        if device is None:
            return zone
        drawn = self._thrift.of(wish, device, judged.evidence, now)
        return (*zone, *drawn, *warmer(judged.trail))

    # --- what others are told --------------------------------------------------------------------

    def report(self, device: str) -> GateReport | None:
        """Return what the advert says of a device's gate; None before it was judged."""
        judged = self.judged.get(device)
        if judged is None:
            return None
        found, no = judged.score, judged.refusal
        return GateReport(
            stage_of(judged.verdict, no),
            found.s,
            found.c,
            found.h,
            found.culprits,
            "" if no is None else brief(no),
            "" if no is None else first_fix(no),
            self.law.digest,
        )

    def told(self, devices: tuple[DeviceAdvert, ...]) -> tuple[DeviceAdvert, ...]:
        """Return own devices with what their gates say."""
        return tuple(
            msgspec.structs.replace(device, gate=self.report(device.name))
            if device.slots
            else device
            for device in devices
        )

    def words_of(self, key: str, job: JobId, now: Instant) -> bytes:
        """Return all that is known of why the device ``node/name`` is closed to a job, encoded."""
        node, _, name = key.partition("/")
        if node == self._me.node:
            judged = self.judged.get(name)
            no = None if judged is None else judged.refusal
            return b"" if no is None else encode_refusal(msgspec.structs.replace(no, job=job))
        advert = self._rooms.adverts.snapshot().get(NodeId(node))
        gates = {} if advert is None else {each.name: each.gate for each in advert.devices}
        gate, record = gates.get(name), self._rooms.membership.record_of(NodeId(node))
        if gate is None or gate.state is GateState.OPEN or record is None:
            return b""
        threshold = self.law.effective(now).threshold
        return encode_refusal(heard(gate, job, record.name, name, threshold, now))

    def _refusal(self, judged: Judged) -> Refusal:
        evidence = judged.evidence
        said = refuse(
            msgspec.structs.replace(evidence, node=self._me.name),  # as people know it
            judged.score,
            judged.policy,
            judged.verdict,
            slopes=slopes(judged.trail),
            elsewhere=self._elsewhere(),
            ledger=judged.position,
        )
        return msgspec.structs.replace(said, evidence=digest(evidence).hex())

    def _elsewhere(self) -> tuple[Elsewhere, ...]:
        """Return devices of other nodes that are open and free, the nearest first."""
        found: list[tuple[float, Elsewhere]] = []
        for record in self._rooms.membership.members():
            advert = self._rooms.adverts.snapshot().get(record.node)
            rtt_s = self._survey.rtt_s(record.node)
            if record.node == self._me.node or advert is None or rtt_s is None:
                continue
            found += [
                (rtt_s, Elsewhere(record.name, device.name, device.gate.e, round(rtt_s * 1e6)))
                for device in advert.devices
                if device.gate is not None
                and device.gate.state is GateState.OPEN
                and device.busy < device.slots
            ]
        found.sort(key=lambda each: (each[0], each[1].node, each[1].device))
        return tuple(each for _, each in found[:_MOST_ELSEWHERE])


def admission_of(judged: Judged) -> Admission:
    """Return a judgement as the bench wants to know it."""
    no, verdict = judged.refusal, judged.verdict
    if no is None:
        return ADMITTED
    code = NotAdmitted.code
    if verdict.admission is Verdicts.DEFER:
        code = DEFERRED
    elif stage_of(verdict, no) is GateState.FORBIDS:
        code = Forbidden.code
    shut = Admission(code, brief(no), first_fix(no), encode_refusal(no))
    match verdict.running:
        case Running.THROTTLE:
            return replace(shut, share=_THROTTLED)
        case Running.MOVE:
            return replace(shut, share=0.0)
        case Running.STOP:
            return replace(shut, share=0.0, at_once=True)
    return shut


def slopes(trail: deque[Evidence]) -> dict[str, int]:
    """Return how fast each signal moved over the trail, in millionths of its unit a second."""
    first, last = trail[0], trail[-1]
    ms = last.at_ms - first.at_ms
    if ms <= 0:
        return {}
    begun = {each.signal: each.value for each in first.items if each.value is not None}
    return {
        each.signal: (each.value - begun[each.signal]) * 1000 // ms
        for each in last.items
        if each.value is not None and each.signal in begun
    }
