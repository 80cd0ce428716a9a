"""The hallway: one Node that carries every item between its rooms.

It holds no logic of a room. It knows which room takes which message, who may send it, and hands
each fact that a room announces to the rooms that care, in a fixed order.
"""

from collections.abc import Callable, Mapping

from qallow_agent.base.errors import NotAllowed, QallowError, UnknownKind
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
from qallow_agent.base.message import Done, Failure, Message, Report, kind_of
from qallow_agent.base.notice import Notice
from qallow_agent.jobs import messages as jobs
from qallow_agent.mesh.wire import kinds as mesh
from qallow_agent.node import commands, documents, permissions
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.node.submission import Submissions

Route = Callable[[Sender, Message, Instant], list[Effect]]

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
        self._submissions = Submissions(me, rooms, rng)
        self._machines: tuple[Machine, ...] = (
            rooms.doorkeeper,
            rooms.membership,
            rooms.discovery,
            rooms.sync,
            rooms.adverts,
            rooms.bench,
            rooms.desk,
        )
        self._routes = self._wire()
        self._born_s: float | None = None
        self._draining_s: float | None = None
        self._sensed: mesh.Sensed | None = None
        self._store_trouble = ""

    # --- the Machine interface ------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Carry one message to its rooms, and everything it causes onwards.

        A request from the control socket that fails is answered with the failure; a peer that
        asks what its roles do not allow is noted and ignored.
        """
        try:
            if not is_local(sender):
                permissions.check(message, self.rooms.doorkeeper.roles_of(NodeId(sender)), sender)
            return self._settle(self._route(sender, message, now), now)
        except QallowError as error:
            return self._refuse(sender, message, error)

    def tick(self, now: Instant) -> list[Effect]:
        """Let every room whose deadline has passed do what time demands."""
        if self._born_s is None:
            self._born_s = now.mono_s
        effects: list[Effect] = []
        for room in self._machines:
            deadline = room.next_deadline()
            if deadline is not None and deadline <= now.mono_s:
                effects += self._settle(room.tick(now), now)
        if self._draining_s is not None:
            effects += self._drain(now)
        return effects

    def next_deadline(self) -> float | None:
        """Return when the first room wants to be ticked."""
        return soonest(*(room.next_deadline() for room in self._machines), self._draining_s)

    def check(self) -> None:
        """Check every room's invariants."""
        for room in self._machines:
            room.check()

    # --- routing --------------------------------------------------------------------------------

    def _wire(self) -> Mapping[type[Message], tuple[Route, ...]]:
        rooms = self.rooms
        door, swim = rooms.doorkeeper.receive, rooms.membership.receive
        book, pulse = rooms.adverts.receive, rooms.sync.receive
        desk, bench, found = rooms.desk.receive, rooms.bench.receive, rooms.discovery.receive
        submissions = self._submissions
        to_rooms: dict[Route, tuple[type[Message], ...]] = {
            door: (mesh.JoinRequest, mesh.JoinWelcome, mesh.Hello, mesh.Renew, mesh.Renewed,
                   mesh.Revoked, Failure),
            found: (mesh.Beacon,),
            swim: (mesh.Probe, mesh.ProbeRelay, mesh.Ack, mesh.Nack, mesh.Gossip, mesh.PushPull,
                   mesh.LinkRefused),
            book: (mesh.Adverts, mesh.AdvertDigest),
            pulse: (mesh.Pulse, mesh.PulseEcho, mesh.NtpAnswer),
            bench: (jobs.LeaseRequest, jobs.LeaseRenew, jobs.LeaseRelease, jobs.RunnerReady,
                    jobs.RunnerBusy, jobs.RunnerExited, jobs.RunnerTally, jobs.CanaryDone),
            desk: (jobs.LeaseGrant, jobs.LeaseRefusal, jobs.LeaseRevoked, jobs.JobProgress,
                   jobs.JobEnded, jobs.JobCancel, jobs.MoreSlots, jobs.Deposit, jobs.Fetch,
                   jobs.ListJobs, jobs.ClientGone, jobs.PlacementMade),
            submissions.submit: (jobs.SubmitJob,),
            submissions.place: (jobs.PlacementWanted,),
            self._answer: (commands.GetStatus, commands.GetPeers, commands.GetDevices,
                           commands.GetDiagnosis),
            self._open_session: (jobs.OpenSession,),
            self._invite: (commands.CreateInvite,),
            self._revoke: (commands.Revoke,),
            self._stop: (commands.StopAgent,),
            self._leave: (commands.LeaveMesh,),
            self._sense: (mesh.Sensed,),
            self._advertise: (jobs.BenchChanged,),
        }  # fmt: skip
        table: dict[type[Message], tuple[Route, ...]] = {
            kind: (route,) for route, kinds in to_rooms.items() for kind in kinds
        }
        table[mesh.MemberHeardOf] = (door,)
        table[mesh.MemberMet] = (self._learn, found, swim)
        table[mesh.MemberUp] = (found, pulse, book)
        table[mesh.MemberSuspect] = ()
        table[mesh.MemberDown] = (found, pulse, book, self._member_down)
        table[mesh.AdvertChanged] = (self._advert_changed,)
        return table

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
        waiting = list(reversed(effects))
        hops = 0
        while waiting:
            effect = waiting.pop()
            inside = self._inside(effect)
            if inside is None:
                outward.append(effect)
                continue
            hops += 1
            if hops > MAX_HOPS:
                outward.append(Notice("node.echo", "rooms answer each other for ever", "error"))
                break
            waiting += reversed(self._route(*inside, now))
        return outward

    def _inside(self, effect: Effect) -> tuple[Sender, Message] | None:
        if isinstance(effect, Announce):
            return self.me.node, effect.message
        if isinstance(effect, Send) and effect.to == self.me.node:
            return self.me.node, effect.message
        return None

    def _refuse(self, sender: Sender, message: Message, error: QallowError) -> list[Effect]:
        if sender.startswith(("@control/", "@door/")):
            failure = Failure(error.code, error.message, error.hint, error.retryable)
            return [Reply(sender, failure)]
        facts: dict[str, str | int | float | bool | None] = {
            "node": sender,
            "kind": kind_of(message),
            "code": error.code,
            "why": error.message,
        }
        return [Notice("message.refused", "a message was refused", "warning", facts)]

    # --- facts that concern several rooms ---------------------------------------------------------

    def _learn(self, _: Sender, message: Message, now: Instant) -> list[Effect]:
        assert isinstance(message, mesh.MemberMet)  # noqa: S101 - the table says so
        certificate = message.credential.certificate
        self.rooms.adverts.learn_key(certificate.node, certificate.node_key)
        return []

    def _member_down(self, _: Sender, message: Message, now: Instant) -> list[Effect]:
        assert isinstance(message, mesh.MemberDown)  # noqa: S101 - the table says so
        return self.rooms.desk.member_down(message.node, now)

    def _advert_changed(self, _: Sender, message: Message, now: Instant) -> list[Effect]:
        assert isinstance(message, mesh.AdvertChanged)  # noqa: S101 - the table says so
        if message.node == self.me.node:
            own = self.rooms.adverts.snapshot().get(self.me.node)
            if own is not None:
                self.rooms.membership.set_advert(own.version)
        return self.rooms.desk.devices_changed(now)

    def _sense(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        assert isinstance(message, mesh.Sensed)  # noqa: S101 - the table says so
        self._sensed = message
        specs = tuple(documents.device_spec(device) for device in message.devices)
        return [*self.rooms.bench.set_devices(specs, now), *self._advertise(sender, message, now)]

    def _advertise(self, _: Sender, message: Message, now: Instant) -> list[Effect]:
        del message
        if self._sensed is None:
            return []
        devices = documents.merge_devices(self._sensed.devices, self.rooms.bench.device_states())
        kernels = documents.kernel_adverts(self.rooms.catalog)
        return self.rooms.adverts.publish(devices, kernels, self._sensed.readings, now)

    # --- commands ---------------------------------------------------------------------------------

    def _answer(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        view = documents.View(self.me, self.rooms, now, self._born_s, self._state())
        document = {
            commands.GetStatus: documents.status,
            commands.GetPeers: documents.peers,
            commands.GetDevices: documents.devices,
            commands.GetDiagnosis: documents.diagnosis,
        }[type(message)](view)
        return [Reply(sender, Report(document["schema"], document))]

    def _open_session(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        effects = self.rooms.desk.receive(sender, message, now)
        me = self.me
        return [*effects, Reply(sender, jobs.SessionOpened(me.node, me.name, me.mesh_name, me.release))]

    def _invite(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        assert isinstance(message, commands.CreateInvite)  # noqa: S101 - the table says so
        token, effects = self.rooms.doorkeeper.create_invite(
            roles=tuple(mesh.Role(role) for role in message.roles),
            zone=message.zone,
            uses=message.uses,
            lifetime_s=message.lifetime_s,
            hosts=message.hosts,
            now=now,
        )
        document = {
            "token": token,
            "uses": message.uses,
            "lifetime_s": message.lifetime_s,
            "roles": list(message.roles),
            "zone": message.zone,
        }
        return [*effects, Reply(sender, Report("qallow.invite/v1", document))]

    def _revoke(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        assert isinstance(message, commands.Revoke)  # noqa: S101 - the table says so
        effects = self.rooms.doorkeeper.revoke(NodeId(message.node), message.reason, now)
        return [*effects, Reply(sender, Done())]

    def _stop(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        assert isinstance(message, commands.StopAgent)  # noqa: S101 - the table says so
        effects: list[Effect] = [Reply(sender, Done())] if sender.startswith("@control/") else []
        if message.now or self._draining_s is not None:
            return [*effects, *self._goodbye("stopped", now)]
        self._draining_s = now.mono_s
        effects += self.rooms.bench.drain(now)
        return [*effects, Notice("agent.draining", "finishing what runs here, taking no more")]

    def _leave(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        del message
        return [Reply(sender, Done()), *self._goodbye("left", now)]

    def _drain(self, now: Instant) -> list[Effect]:
        assert self._draining_s is not None  # noqa: S101 - only called while draining
        if self.rooms.bench.idle():
            return self._goodbye("stopped", now)
        self._draining_s = now.mono_s + 0.1
        return []

    def _goodbye(self, reason: str, now: Instant) -> list[Effect]:
        effects = self.rooms.membership.leave(now)
        return [*self._settle(effects, now), Shutdown(reason)]

    def _state(self) -> str:
        if self._draining_s is not None:
            return "draining"
        return "ready"
