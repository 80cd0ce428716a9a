"""A job that is not over: who submits it, which leases it holds and has asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from qallow_agent.base.ids import LeaseId, NodeId, Sender
from qallow_agent.base.machine import Effect, Send, soonest
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.local import Choice, PlacementWanted
from qallow_agent.jobs.messages import Lease, LeaseRelease, LeaseRenew, LeaseRequest, SubmitJob
from qallow_agent.jobs.model import JobEvent, JobRecord, Terms, advance
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.shade import Shade
from qallow_agent.jobs.story import Chronicle
from qallow_agent.jobs.tabs import expect

_MOST_GONE = 256
"""Ended leases remembered per job, so that a duplicated grant does not revive one."""

Place = tuple[NodeId, str]
"""A device of a node."""


@dataclass(slots=True)
class Asked:
    """A lease request without an answer."""

    slots: int
    resend_s: Seconds
    patient_s: Seconds
    until_s: Seconds
    asked_s: Seconds
    cold: bool = False
    """No runner was warm there."""
    counted: bool = True
    """False once patience ran out: it may still be answered, and others are asked too."""

    def due(self) -> Seconds:
        """Return when it must be looked at."""
        first = min(self.resend_s, self.until_s)
        return min(first, self.patient_s) if self.counted else first


class LiveJob:
    """One unfinished job and its leases; owned by the desk.

    Args:
        record: What is remembered of it.
        order: What the client asked.
        terms: What validation added.
        now: Monotonic seconds of its submission.
    """

    __slots__ = (
        "asked", "avoid", "chronicle", "code", "curve_key", "deadline_s", "document", "ever_asked",
        "gone", "heard_s", "held", "hint", "hungry_s", "order", "orphaned_s", "pause_s", "places",
        "reason", "record", "renew_s", "retry_s", "shade", "shut", "submitter", "terms", "told",
        "wanted", "watchers",
    )  # fmt: skip

    def __init__(self, record: JobRecord, order: SubmitJob, terms: Terms, now: Seconds) -> None:
        self.record = record
        self.order = order
        self.terms = terms
        self.chronicle = Chronicle(record.submitted_s - now)
        self.submitter: Sender | None = None
        self.curve_key = b""
        self.watchers: list[Sender] = []
        """Others that submitted the same under its idempotency key: told how it ends."""
        self.wanted = 0
        """Leases the submitter could use."""
        self.places = record.options.verify
        """Different devices its leases must be on."""
        self.shade = Shade()
        self.held: dict[LeaseId, Lease] = {}
        self.asked: dict[Place, Asked] = {}
        self.ever_asked: dict[Place, None] = {}
        self.gone: dict[LeaseId, None] = {}
        self.avoid: dict[str, Seconds] = {}
        """``node/device`` -> until when."""
        self.shut: dict[str, str] = {}
        """Those of them of which the gate refused this job -> the error's code."""
        limit_s = record.options.deadline_s
        self.deadline_s: Seconds | None = now + limit_s if limit_s > 0 else None
        self.hungry_s: Seconds = now
        """Since when it has wanted a lease and had none."""
        self.heard_s: Seconds = now
        self.orphaned_s: Seconds | None = None
        """Since when its submitter has been gone."""
        self.renew_s: Seconds | None = None
        self.retry_s: Seconds | None = None
        self.pause_s: Seconds = 0.0
        self.reason = ""
        """Why the last request came to nothing."""
        self.hint = ""
        self.code = ""
        """An error's code when a gate is the reason; ``document`` is all of it then."""
        self.document = b""
        self.told = ""
        """The reason the submitter was told last."""

    @property
    def needed(self) -> int:
        """Leases to ask for."""
        pending = sum(asked.slots for asked in self.asked.values() if asked.counted)
        return max(0, self.wanted - len(self.held) - pending)

    def blame(self, reason: str, hint: str = "", code: str = "", document: bytes = b"") -> None:
        """Remember why the last request came to nothing."""
        self.reason, self.hint = reason, hint
        self.code, self.document = code, document

    def wish(self, now: Seconds) -> PlacementWanted:
        """Return what to ask the router."""
        held: set[str] = set()
        if self.places > 1:
            held = {f"{lease.node}/{lease.device}" for lease in self.held.values()}
            held |= {f"{node}/{device}" for (node, device), asked in self.asked.items()
                     if asked.counted}  # fmt: skip
        return PlacementWanted(
            self.record.id,
            self.needed,
            self.avoided(now),
            self.places,
            tuple(sorted(held)),
            dict(sorted(self.shut.items())),
        )

    def move(self, event: JobEvent) -> None:
        """Take the job along the transition table."""
        state = advance(self.record.state, event)
        if state != self.record.state:
            self.record = msgspec.structs.replace(self.record, state=state)

    def starts_by(self) -> Seconds | None:
        """Return when it fails unless it gets a lease; None while it has one or wants none."""
        if self.held or not self.wanted:
            return None
        return self.hungry_s + self.record.options.start_s

    def due(self, settings: JobSettings) -> Seconds | None:
        """Return when it must be looked at next."""
        silent_s = None
        if self.orphaned_s is not None:
            silent_s = self.orphaned_s + settings.reclaim_s
        elif self.held or not self.wanted:
            silent_s = self.heard_s + settings.submitter_silence_s
        waits = [asked.due() for asked in self.asked.values()]
        return soonest(
            self.deadline_s, self.starts_by(), silent_s, self.renew_s, self.retry_s, *waits
        )

    def ask(self, choices: Sequence[Choice], now: Seconds, settings: JobSettings) -> list[Effect]:
        """Request leases at the chosen places, no more than needed."""
        effects: list[Effect] = []
        for choice in choices:
            slots = min(choice.slots, self.needed)
            place = (choice.node, choice.device)
            if slots < 1 or place in self.asked:
                continue
            self.asked[place] = Asked(
                slots,
                now + settings.lease_resend_s,
                now + settings.lease_patience_s,
                now + settings.lease_answer_s,
                asked_s=now,
                cold=choice.cold,
            )
            self.ever_asked[place] = None
            effects.append(self._request(place, slots, now))
        return effects

    def ask_again(self, now: Seconds, settings: JobSettings) -> tuple[list[Effect], list[Place]]:
        """Repeat requests that got no answer; return also the places that never answered."""
        effects: list[Effect] = []
        mute: list[Place] = []
        for place, asked in list(self.asked.items()):
            if asked.until_s <= now:
                del self.asked[place]
                mute.append(place)
            elif asked.resend_s <= now:
                asked.resend_s = now + settings.lease_resend_s
                effects.append(self._request(place, asked.slots, now))
        return effects, mute

    def lose_patience(self, now: Seconds) -> bool:
        """Stop counting on requests that have waited too long; return whether there were any."""
        slow = [each for each in self.asked.values() if each.counted and each.patient_s <= now]
        for asked in slow:
            asked.counted = False
        return bool(slow)

    def hold(self, lease: Lease, now: Seconds) -> Seconds | None:
        """Take a granted lease; return how long its runner took to start, if that was seen."""
        place = (lease.node, lease.device)
        asked = self.asked.get(place)
        started_s = None
        if asked is not None:
            if asked.cold:
                started_s, asked.cold = now - asked.asked_s, False
            asked.slots -= 1
            if asked.slots < 1:
                del self.asked[place]
        self.held[lease.id] = lease
        self.expect_energy(lease)
        renew_s = now + lease.ttl_s / 3
        self.renew_s = renew_s if self.renew_s is None else min(self.renew_s, renew_s)
        self.pause_s = 0.0
        self.told = ""
        return started_s

    def expect_energy(self, lease: Lease) -> None:
        """Expect to be told what the job uses under a lease."""
        tabs = expect(self.record.energy, lease)
        if tabs is not self.record.energy:
            self.record = msgspec.structs.replace(self.record, energy=tabs)

    def drop(self, lease: LeaseId, now: Seconds) -> Lease | None:
        """End a held lease; None when it is not held."""
        self.gone[lease] = None
        if len(self.gone) > _MOST_GONE:
            del self.gone[next(iter(self.gone))]
        ended = self.held.pop(lease, None)
        if ended is not None and not self.held:
            self.hungry_s = now
            self.renew_s = None
        return ended

    def renew(self, now: Seconds) -> list[Effect]:
        """Renew every lease, one message a node."""
        if not self.held:
            self.renew_s = None
            return []
        self.renew_s = now + min(lease.ttl_s for lease in self.held.values()) / 3
        return [Send(node, LeaseRenew(leases)) for node, leases in self._by_node()]

    def release(self, now: Seconds) -> list[Effect]:
        """Give every lease back and stop waiting for more."""
        effects: list[Effect] = [
            Send(node, LeaseRelease(leases)) for node, leases in self._by_node()
        ]
        for lease in list(self.held):
            self.drop(lease, now)
        self.shade = Shade()
        self.asked.clear()
        self.wanted = 0
        self.retry_s = None
        return effects

    def avoided(self, now: Seconds) -> tuple[str, ...]:
        """Return the devices to leave alone for now."""
        self.avoid = {key: until for key, until in self.avoid.items() if until > now}
        self.shut = {key: code for key, code in self.shut.items() if key in self.avoid}
        slow = [f"{node}/{device}" for (node, device), asked in self.asked.items()
                if not asked.counted]  # fmt: skip
        return tuple(sorted({*self.avoid, *slow}))

    def _by_node(self) -> list[tuple[NodeId, tuple[LeaseId, ...]]]:
        nodes: dict[NodeId, list[LeaseId]] = {}
        shadow = [] if self.shade.lease is None else [self.shade.lease]
        for lease in (*self.held.values(), *shadow):
            nodes.setdefault(lease.node, []).append(lease.id)
        return [(node, tuple(leases)) for node, leases in nodes.items()]

    def ask_shadow(self, choice: Choice, now: Seconds) -> list[Effect]:
        """Ask a device on trial for one lease, if the job has none of that kind."""
        place = self.shade.ask(choice, now) if self.held else None
        if place is None or place in self.asked:
            return []
        self.ever_asked[place] = None
        return [self._request(place, 1, now, shadow=True)]

    def _request(self, place: Place, slots: int, now: Seconds, *, shadow: bool = False) -> Send:
        node, device = place
        request = LeaseRequest(
            job=self.record.id,
            kernel=self.order.kernel,
            kernel_hash=self.terms.kernel_hash,
            device=device,
            slots=slots,
            submitter_key=self.curve_key,
            memory_bytes=self.terms.demand.memory_bytes,
            task_limit_s=self.record.options.task_limit_s,
            priority=self.record.options.priority,
            waited_s=0.0 if self.held else max(0.0, now - self.hungry_s),
            data_class=self.record.options.data_class,
            shadow=shadow,
            lacked=self.wanted - len(self.held),
            places=self.places,
            ops=self.terms.demand.ops * self.places * max(0, self.record.points - self.record.done),
        )
        return Send(node, request)
