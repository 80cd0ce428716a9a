"""The front desk of a node: what a person or program may ask of it, besides jobs."""

from collections.abc import Callable
from typing import Any

from qallow_agent.base.errors import UsageError
from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.machine import Effect, Instant, Reply, Shutdown
from qallow_agent.base.message import Done, Message, Report
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.messages import OpenSession, SessionOpened
from qallow_agent.mesh.wire.facts import MemberDown, MemberSuspect, MemberUp, Sensed
from qallow_agent.node import commands, documents
from qallow_agent.node.bill import bill
from qallow_agent.node.documents import Document, View
from qallow_agent.node.governance import Governance
from qallow_agent.node.rooms import Rooms, Self

DRAIN_STEP_S: Seconds = 0.05
"""How often a draining node looks whether its runners are done."""

_DOCUMENTS: dict[type[Message], Callable[[View], Document]] = {
    commands.GetStatus: documents.status,
    commands.GetPeers: documents.peers,
    commands.GetDevices: documents.devices,
    commands.GetDiagnosis: documents.diagnosis,
}


class FrontDesk:
    """Answers commands, and sees the node to its end.

    Args:
        me: Who this node is.
        rooms: Its rooms.
        governance: Knows how its gates are.
    """

    def __init__(self, me: Self, rooms: Rooms, governance: Governance) -> None:
        self._me = me
        self._governance = governance
        self._rooms = rooms
        self._born_s: Seconds | None = None
        self._changed_s: dict[NodeId, Seconds] = {}
        self._look_s: Seconds | None = None
        self._trouble = ""
        self.sensed: Sensed | None = None

    # --- what it keeps in mind ----------------------------------------------------------------

    def wake(self, now: Instant) -> None:
        """Remember when this node came to life."""
        if self._born_s is None:
            self._born_s = now.mono_s

    def note_member(self, _: Sender, fact: Any, now: Instant) -> list[Effect]:
        """Remember when a member's state last changed."""
        node: NodeId = fact.record.node if isinstance(fact, MemberUp) else fact.node
        self._changed_s[node] = now.mono_s
        return []

    def note_store(self, _: Sender, fact: commands.StoreState, _now: Instant) -> list[Effect]:
        """Remember what is wrong with the disk, or that nothing is."""
        self._trouble = fact.trouble
        return []

    # --- commands -----------------------------------------------------------------------------

    def answer(self, sender: Sender, query: Message, now: Instant) -> list[Effect]:
        """Answer a query with its document."""
        view = self._view(now)
        if isinstance(query, commands.GetEnergy):
            document = bill(view, query)
        else:
            document = _DOCUMENTS[type(query)](view)
        return [Reply(sender, Report(str(document["schema"]), document))]

    def open_session(self, sender: Sender, message: OpenSession, now: Instant) -> list[Effect]:
        """Tell a client who it talks to, and its key to the desk."""
        me = self._me
        opened = SessionOpened(me.node, me.name, me.mesh_name, me.release)
        return [*self._rooms.desk.receive(sender, message, now), Reply(sender, opened)]

    def invite(self, sender: Sender, wish: commands.CreateInvite, now: Instant) -> list[Effect]:
        """Make an invite."""
        token, effects = self._rooms.doorkeeper.create_invite(
            roles=wish.roles,
            zone=wish.zone,
            uses=wish.uses,
            lifetime_s=wish.lifetime_s,
            hosts=wish.hosts,
            now=now,
        )
        document = {
            "token": token,
            "uses": wish.uses,
            "lifetime_s": wish.lifetime_s,
            "roles": list(wish.roles),
            "zone": wish.zone,
        }
        return [*effects, Reply(sender, Report("qallow.invite/v1", document))]

    def revoke(self, sender: Sender, wish: commands.Revoke, now: Instant) -> list[Effect]:
        """End another node's membership; it may be named by id or by a name that is unique.

        Raises:
            UsageError: No member, or several, are called so.
            NotAllowed: This node may not.
        """
        named = [
            record.node
            for record in self._rooms.membership.members()
            if wish.node in {record.node, record.name}
        ]
        if len(named) != 1:
            what = "no member is" if not named else f"{len(named)} members are"
            raise UsageError(f"{what} called {wish.node!r}", hint="'qallow-agent peers' shows ids")
        effects = self._rooms.doorkeeper.revoke(named[0], wish.reason, now)
        self._rooms.discovery.forget(named[0], now)
        return [*effects, Reply(sender, Done())]

    # --- the end ------------------------------------------------------------------------------

    def stop(self, sender: Sender, wish: commands.StopAgent, now: Instant) -> list[Effect]:
        """Let running tasks finish, say goodbye and shut down; asked twice, at once."""
        effects: list[Effect] = [Reply(sender, Done())] if sender.startswith("@control/") else []
        if wish.now or self._look_s is not None:
            return [*effects, *self._goodbye("stopped", now)]
        self._look_s = now.mono_s
        effects += self._rooms.bench.drain(now)
        return [*effects, Notice("agent.draining", "finishing what runs here, taking no more")]

    def leave(self, sender: Sender, _: commands.LeaveMesh, now: Instant) -> list[Effect]:
        """Say goodbye for good: the mesh forgets this node and it forgets the mesh."""
        forgotten = self._rooms.doorkeeper.forget()
        return [*forgotten, Reply(sender, Done()), *self._goodbye("left", now)]

    def tick(self, now: Instant) -> list[Effect]:
        """While draining, shut down once nothing runs here any more."""
        if self._look_s is None or now.mono_s < self._look_s:
            return []
        if self._rooms.bench.idle():
            return self._goodbye("stopped", now)
        self._look_s = now.mono_s + DRAIN_STEP_S
        return []

    def next_deadline(self) -> Seconds | None:
        """Return when a draining node looks again; None otherwise."""
        return self._look_s

    def _view(self, now: Instant) -> View:
        return View(
            me=self._me,
            rooms=self._rooms,
            now=now,
            state="ready" if self._look_s is None else "draining",
            uptime_s=0.0 if self._born_s is None else now.mono_s - self._born_s,
            changed_s=self._changed_s,
            sensed=self.sensed,
            trouble=self._trouble,
            governance=self._governance,
        )

    def _goodbye(self, reason: str, now: Instant) -> list[Effect]:
        ended = [*self._rooms.desk.drain(now), *self._rooms.meters.sums.save()]
        return [*ended, *self._rooms.membership.leave(now), Shutdown(reason)]


MEMBER_FACTS = (MemberUp, MemberSuspect, MemberDown)
"""Facts after which a member's state has a new age."""
