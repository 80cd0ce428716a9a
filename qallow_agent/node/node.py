"""The hallway: one Node that carries every item between its rooms.

It holds no logic of a room. It knows which room takes which message, who may send it, and hands
each fact that a room announces to the rooms that care, in a fixed order.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from qallow_agent.base.errors import QallowError, UnknownKind
from qallow_agent.base.ids import Entropy, NodeId, Sender, is_local
from qallow_agent.base.machine import (
    Announce,
    Effect,
    Instant,
    Machine,
    Reply,
    Send,
    Shutdown,
    soonest,
)
from qallow_agent.base.message import Failure, Message, failure, kind_of
from qallow_agent.base.notice import Notice
from qallow_agent.ethics.messages import CharterChanged
from qallow_agent.jobs import local
from qallow_agent.jobs import messages as jobs
from qallow_agent.jobs.epochs import JobStep, KeepEpoch
from qallow_agent.jobs.opinions import OPINIONS, AuditDone
from qallow_agent.ledger import kinds
from qallow_agent.ledger import messages as ledger
from qallow_agent.ledger.mirror_kinds import MIRROR_KINDS
from qallow_agent.mesh.wire import facts
from qallow_agent.mesh.wire import kinds as mesh
from qallow_agent.node import commands, documents, permissions
from qallow_agent.node.devices import bench_devices
from qallow_agent.node.explain import Explanations
from qallow_agent.node.front import FrontDesk
from qallow_agent.node.governance import Governance
from qallow_agent.node.metering import Metering
from qallow_agent.node.quorum import JUDGING, Coherence
from qallow_agent.node.receipts import Receipts
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.node.rules import Rules
from qallow_agent.node.submission import Submissions
from qallow_agent.node.survey import Survey
from qallow_agent.node.vouchers import Vouchers

Route = Callable[[Sender, Any, Instant], list[Effect]]

MAX_HOPS = 10_000
"""Effects one step may cause before we call it an endless echo between rooms."""


class Node:
    """One complete agent without the world: the machine that the driver and simulator run.

    Args:
        me: Who this node is.
        rooms: Its rooms, one of each.
        rng: Injected entropy, for placement's draws.
    """

    def __init__(self, me: Self, rooms: Rooms, rng: Entropy) -> None:
        self.me = me
        self.rooms = rooms
        self._survey = Survey(me, rooms)
        self.governance = Governance(me, rooms, self._survey)
        self._front = FrontDesk(me, rooms, self.governance)
        self._submissions = Submissions(me, rooms, self._survey, rng)
        self._submissions.words_of = self.governance.words_of
        self._metering = Metering(rooms)
        self._receipts = Receipts(me, rooms, Vouchers(me, rooms))
        self._coherence = Coherence(me, rooms)
        self._explanations = Explanations(
            me, rooms, self._survey, self._submissions, self.governance
        )
        self._rules = Rules(me, rooms, self.governance.request)
        self._machines: tuple[Machine, ...] = (
            rooms.doorkeeper,
            rooms.membership,
            rooms.discovery,
            rooms.sync,
            rooms.views,
            rooms.adverts,
            rooms.bench,
            rooms.desk,
            rooms.ledger,
            rooms.council,
            rooms.mirror,
            rooms.validation,
            rooms.charter,
            rooms.audits,
        )
        self._routes = self._wire()

    # --- the Machine interface ------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Carry one message to its rooms, and everything it causes onwards.

        A request from the control socket that fails is answered with the failure; a peer that
        asks what its roles do not allow is noted and ignored.
        """
        doorkeeper = self.rooms.doorkeeper
        try:
            if not is_local(sender):
                if doorkeeper.is_revoked(NodeId(sender)):
                    return []  # it still holds the keyring, so its datagrams still open
                permissions.check(message, doorkeeper.roles_of(NodeId(sender)), sender)
            return self._settle(self._route(sender, message, now), now)
        except QallowError as error:
            return self._refuse(sender, message, error)

    def tick(self, now: Instant) -> list[Effect]:
        """Let every room whose deadline has passed do what time demands."""
        self._front.wake(now)
        effects: list[Effect] = []
        for room in self._machines:
            deadline = room.next_deadline()
            if deadline is not None and deadline <= now.mono_s:
                effects += self._settle(room.tick(now), now)
        effects += self._settle(self._receipts.tick(now), now)
        return effects + self._settle(self._front.tick(now), now)

    def next_deadline(self) -> float | None:
        """Return when the first room wants to be ticked."""
        return soonest(
            self._front.next_deadline(),
            self._receipts.next_deadline(),
            *(room.next_deadline() for room in self._machines),
        )

    def check(self) -> None:
        """Check every room's invariants."""
        for room in self._machines:
            room.check()
        self.rooms.meters.check()

    # --- routing --------------------------------------------------------------------------------

    def _wire(self) -> Mapping[type[Message], tuple[Route, ...]]:
        rooms = self.rooms
        door, swim = rooms.doorkeeper.receive, rooms.membership.receive
        book, pulse = rooms.adverts.receive, rooms.sync.receive
        desk, bench, found = rooms.desk.receive, rooms.bench.receive, rooms.discovery.receive
        front, submissions, metering = self._front, self._submissions, self._metering
        to_rooms: dict[Route, tuple[type[Message], ...]] = {
            door: (mesh.JoinRequest, mesh.JoinWelcome, mesh.Hello, mesh.Renew, mesh.Renewed,
                   mesh.Revoked, Failure),
            found: (mesh.Beacon,),
            swim: (mesh.Probe, mesh.ProbeRelay, mesh.Ack, mesh.Nack, mesh.Gossip, mesh.PushPull,
                   facts.LinkRefused),
            book: (mesh.Adverts, mesh.AdvertDigest),
            rooms.views.receive: (mesh.LiveSet,),
            pulse: (mesh.Pulse, mesh.PulseEcho, facts.NtpAnswer),
            self.governance.request: (jobs.LeaseRequest,),
            bench: (jobs.LeaseRenew, jobs.LeaseRelease, *OPINIONS, local.RunnerReady,
                    local.RunnerRests, local.RunnerExited, local.CanaryDone),
            rooms.audits.receive: (local.AuditsSeen,),
            desk: (jobs.LeaseGrant, jobs.LeaseRefusal, jobs.LeaseRevoked, jobs.JobProgress,
                   jobs.JobEnded, jobs.JobCancel, jobs.MoreSlots, jobs.Deposit, jobs.Fetch,
                   KeepEpoch, JobStep,
                   jobs.ListJobs, local.ClientGone, local.PlacementMade, jobs.LeaseBroken,
                   AuditDone, local.ShadowFound),
            submissions.submit: (jobs.SubmitJob,),
            submissions.place: (local.PlacementWanted, local.ShadowWanted),
            self._survey.learn: (local.LinkMeasured, local.StartMeasured),
            front.answer: (commands.GetStatus, commands.GetPeers, commands.GetDevices,
                           commands.GetDiagnosis, commands.GetEnergy),
            self._explanations.answer: (commands.Explain,),
            front.open_session: (jobs.OpenSession,),
            front.invite: (commands.CreateInvite,),
            front.revoke: (commands.Revoke,),
            front.stop: (commands.StopAgent,),
            front.leave: (commands.LeaveMesh,),
            front.note_store: (commands.StoreState,),
            metering.work: (local.LeaseBegun, local.LeaseOver),
            metering.charged: (local.EnergyCharged,),
            self._advertise: (local.BenchChanged,),
        }  # fmt: skip
        table: dict[type[Message], tuple[Route, ...]] = {
            kind: (route,) for route, kinds in to_rooms.items() for kind in kinds
        }
        return self._rules.wire(table | self._wire_facts() | self._wire_ledger()) | {
            CharterChanged: (self._rules.changed, self._charter_changed),
        }

    def _wire_facts(self) -> dict[type[Message], tuple[Route, ...]]:
        """Return who hears what concerns several rooms, in this order."""
        rooms, note, metering = self.rooms, self._front.note_member, self._metering
        door, swim = rooms.doorkeeper.receive, rooms.membership.receive
        found, pulse, views = rooms.discovery.receive, rooms.sync.receive, rooms.views.receive
        book, bench = rooms.adverts.receive, rooms.bench.receive
        table: dict[type[Message], tuple[Route, ...]] = {}
        table[jobs.JobEnergy] = (rooms.desk.receive, self._receipts.charged)
        table[facts.Sensed] = (metering.sense, self._sense)
        table[local.RunnerBusy] = table[local.RunnerTally] = (bench, metering.work)
        table[facts.MemberHeardOf] = (door, found)
        table[facts.MemberMet] = (self._learn, found, swim)
        came, gone = self._coherence.member_up, self._coherence.member_down
        table[facts.MemberUp] = (note, found, pulse, views, book, door, came)
        table[facts.MemberSuspect] = (note,)
        down = self._member_down
        table[facts.MemberDown] = (note, found, pulse, views, book, door, down, gone)
        table[facts.AdvertChanged] = (self._advert_changed,)
        return table

    def _wire_ledger(self) -> dict[type[Message], tuple[Route, ...]]:
        log, mirror = self.rooms.ledger.receive, self.rooms.mirror.receive
        return {
            ledger.LogKept: (log, mirror),
            ledger.LogFailed: (log, mirror),
            **dict.fromkeys(MIRROR_KINDS, (mirror,)),
            ledger.HeadSigned: (self.rooms.council.receive, mirror, self._receipts.news),
            kinds.CommitteeChanged: (self._coherence.committee_changed,),
            kinds.ForkDetected: (self._coherence.forked, self._doubted),
            kinds.Objected: (self._coherence.objected,),
            kinds.Judged: (self._coherence.judged, self.governance.validators.judged),
            kinds.DecisionValidated: (self._receipts.vouched,),
            **dict.fromkeys(JUDGING, (self.rooms.validation.receive,)),
            kinds.Certified: (self._receipts.certified,),
            **dict.fromkeys(kinds.HEARD_KINDS, (self.rooms.council.receive,)),
            **dict.fromkeys(
                (kinds.HeadRefused, kinds.HeadCosigned), (self.rooms.council.receive, self._doubted)
            ),
            jobs.JobEnergy: (self.rooms.desk.receive, self._receipts.charged),
            local.JobOver: (self._receipts.over,),
            commands.GetReceipt: (self._receipts.answer,),
        }

    def _route(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        routes = self._routes.get(type(message))
        if routes is None:
            raise UnknownKind(f"nobody here takes {kind_of(message)!r}")
        effects: list[Effect] = []
        for route in routes:
            effects += route(sender, message, now)
        return effects

    def _settle(self, effects: list[Effect], now: Instant) -> list[Effect]:
        """Deliver what stays inside this node until only effects on the world are left."""
        outward: list[Effect] = []
        # First in, first out: what a message to ourselves causes comes after the rest of its step,
        # so that nothing a room persists is overtaken by what it sends.
        waiting = deque(effects)
        hops = 0
        while waiting:
            effect = waiting.popleft()
            inside = self._inside(effect)
            if inside is None:
                if isinstance(effect, Shutdown):
                    outward += self.rooms.ledger.receive(self.me.node, ledger.LogClosing(), now)
                outward.append(effect)
                continue
            hops += 1
            if hops > MAX_HOPS:
                outward.append(Notice("node.echo", "rooms answer each other for ever", "error"))
                break
            try:
                waiting += self._route(*inside, now)
            except QallowError as error:
                outward += self._refuse(*inside, error)
        return outward

    def _inside(self, effect: Effect) -> tuple[Sender, Message] | None:
        if isinstance(effect, Announce):
            return self.me.node, effect.message
        if isinstance(effect, Send) and effect.to == self.me.node:
            return self.me.node, effect.message
        return None

    def _refuse(self, sender: Sender, message: Message, error: QallowError) -> list[Effect]:
        if sender.startswith(("@control/", "@door/")):
            return [Reply(sender, failure(error))]
        details: dict[str, str | int | float | bool | None] = {
            "node": sender,
            "kind": kind_of(message),
            "code": error.code,
            "why": error.message,
        }
        return [Notice("message.refused", "a message was refused", "warning", details)]

    # --- facts that concern several rooms ---------------------------------------------------------

    def _learn(self, _: Sender, fact: facts.MemberMet, _now: Instant) -> list[Effect]:
        certificate = fact.credential.certificate
        self.rooms.adverts.learn_key(certificate.node, certificate.node_key)
        self.rooms.desk.learn_key(certificate.node, certificate.node_key)
        return []

    def _member_down(self, _: Sender, fact: facts.MemberDown, now: Instant) -> list[Effect]:
        moved = self.rooms.desk.member_down(fact.node, now)
        return [*moved, *self.rooms.bench.member_down(fact.node, now)]

    def _advert_changed(self, _: Sender, fact: facts.AdvertChanged, now: Instant) -> list[Effect]:
        if fact.node == self.me.node:
            self.rooms.membership.set_advert(self.rooms.adverts.version)
        return self.rooms.desk.devices_changed(now)

    def _sense(self, sender: Sender, fact: facts.Sensed, now: Instant) -> list[Effect]:
        self._front.sensed = fact
        known = self.rooms.bench.set_devices(bench_devices(fact), now)
        judged = self.governance.sense(fact, now)
        return [*known, *judged, *self._advertise(sender, fact, now)]

    def _charter_changed(self, sender: Sender, fact: Message, now: Instant) -> list[Effect]:
        """Judge at once by what is in force now: a pause takes hold within this step."""
        self.rooms.council.policy_changed(now)
        return [*self.governance.look_again(now), *self._advertise(sender, fact, now)]

    def _doubted(self, sender: Sender, fact: Message, now: Instant) -> list[Effect]:
        """Judge at once when a log is found forked, or peers change their mind about ours."""
        judged = self.governance.doubted(now, anew=isinstance(fact, kinds.ForkDetected))
        return [*judged, *self._advertise(sender, fact, now)] if judged else []

    def _advertise(self, _: Sender, _fact: Message, now: Instant) -> list[Effect]:
        sensed = self._front.sensed
        if sensed is None:
            return []
        devices = self.governance.told(documents.merge_devices(sensed.devices, self.rooms))
        kernels = documents.kernel_adverts(self.rooms.catalog)
        return self.rooms.adverts.publish(devices, kernels, sensed.readings, now)
