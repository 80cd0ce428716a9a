"""Rules: what people ask about policies, and where policies take away what certificates gave."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from qallow_agent.base.errors import ConfigError, NotAllowed, WireError
from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.machine import Effect, Instant, Reply, Send
from qallow_agent.base.message import Message, Report
from qallow_agent.ethics import messages as ethics
from qallow_agent.ethics.mesh_policy import decode_policy
from qallow_agent.ethics.origins import describe
from qallow_agent.ethics.owner import NOTHING, decode_owner
from qallow_agent.ethics.policy import Policy
from qallow_agent.jobs.messages import LeaseRefusal, LeaseRequest
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.mesh.wire.facts import MemberDown, MemberUp
from qallow_agent.mesh.wire.kinds import Role
from qallow_agent.node.commands import CreateInvite, GetDevices, GetPeers, Revoke
from qallow_agent.node.grants import SHOW, names_of, zone_of
from qallow_agent.node.rooms import Rooms, Self

Route = Callable[[Sender, Any, Instant], list[Effect]]
Routes = tuple[Route, ...]

_LEAVES: Mapping[ethics.Change, LeafKind] = {
    **dict.fromkeys(("begin", "mesh", "owner"), LeafKind.POLICY),
    **dict.fromkeys(("override", "override-over", "pause", "resume"), LeafKind.OVERRIDE),
}
"""What the ledger keeps of a change; quiet hours follow from the policy that is there already."""


class Rules:
    """Carries policies between people, the charter and the rooms that they bind.

    Args:
        me: Who this node is.
        rooms: Its rooms.
        admit: Judges a request that policies let through, and hands it to the bench.
    """

    def __init__(self, me: Self, rooms: Rooms, admit: Route) -> None:
        self._admit = admit
        self._me = me
        self._rooms = rooms

    def wire(self, table: Mapping[type[Message], Routes]) -> dict[type[Message], Routes]:
        """Return a table of routes with ours: our own kinds, and those that policies bind."""
        wired = dict(table)
        guards: dict[type[Message], Route] = {
            CreateInvite: self.administer,
            Revoke: self.administer,
            GetPeers: self.observe,
            GetDevices: self.observe,
        }
        for kind, guard in guards.items():
            wired[kind] = (guard, *wired[kind])
        wired[MemberUp] = (*wired[MemberUp], self.member_up)
        wired[MemberDown] = (*wired[MemberDown], self.member_down)
        wired[LeaseRequest] = (self.lease,)
        own: dict[type[Message], Route] = {
            ethics.GetPolicy: self.answer,
            ethics.SetPolicy: self.set_policy,
            ethics.SetOwnerPolicy: self.set_owner,
            ethics.ChoosePreset: self.choose_preset,
            ethics.OverridePolicy: self.override,
            ethics.PauseWork: self.pause,
            ethics.ResumeWork: self.resume,
            ethics.CharterChanged: self.changed,
            **dict.fromkeys(ethics.POLICY_KINDS, self._rooms.charter.receive),
        }
        return wired | {kind: (route,) for kind, route in own.items()}

    # --- what people ask -------------------------------------------------------------------------

    def answer(self, sender: Sender, _: ethics.GetPolicy, now: Instant) -> list[Effect]:
        """Say what is in force here, and where it comes from."""
        return [Reply(sender, Report("qallow.policy/v1", self._document(now)))]

    def set_policy(self, sender: Sender, wish: ethics.SetPolicy, now: Instant) -> list[Effect]:
        """Sign a policy for the whole mesh.

        Raises:
            NotAllowed: This node does not hold the mesh's key; the hint names who does.
            UsageError: The version is not later than the one in force.
            ConfigError: The policy is malformed or out of bounds.
        """
        try:
            effects = self._rooms.charter.sign(decode_policy(wish.document), now)
        except NotAllowed as error:
            names = ", ".join(self._signers()) or "the node that founded the mesh"
            raise NotAllowed(error.message, hint=f"set it on {names}") from error
        except WireError as error:
            raise ConfigError(error.message, hint="qallow-agent policy validate FILE") from error
        return [*effects, self._done(sender, now)]

    def set_owner(self, sender: Sender, wish: ethics.SetOwnerPolicy, now: Instant) -> list[Effect]:
        """Take the owner's policy of this node.

        Raises:
            ConfigError: It is malformed or out of bounds, or a setting names the file it is in.
        """
        try:
            policy = decode_owner(wish.document) if wish.document else NOTHING
            effects = self._rooms.charter.owner.set_policy(policy, now)
        except WireError as error:
            hint = "qallow-agent policy validate --local FILE"
            raise ConfigError(error.message, hint=hint) from error
        return [*effects, self._done(sender, now)]

    def choose_preset(
        self, sender: Sender, wish: ethics.ChoosePreset, now: Instant
    ) -> list[Effect]:
        """Judge this node by another preset."""
        effects = self._rooms.charter.owner.choose_preset(wish.preset, now)
        return [*effects, self._done(sender, now)]

    def override(self, sender: Sender, wish: ethics.OverridePolicy, now: Instant) -> list[Effect]:
        """Do without a signal for a while."""
        effects = self._rooms.charter.owner.override(wish.signal, wish.for_s, wish.why, now)
        return [*effects, self._done(sender, now)]

    def pause(self, sender: Sender, wish: ethics.PauseWork, now: Instant) -> list[Effect]:
        """Take no work and stop what runs."""
        effects = self._rooms.charter.owner.pause(wish.for_s, wish.why, now)
        return [*effects, self._done(sender, now)]

    def resume(self, sender: Sender, _: ethics.ResumeWork, now: Instant) -> list[Effect]:
        """End the pause."""
        return [*self._rooms.charter.owner.resume(now), self._done(sender, now)]

    # --- what policies take away ------------------------------------------------------------------

    def lease(self, sender: Sender, request: LeaseRequest, now: Instant) -> list[Effect]:
        """Hand a wish for runners to the bench, unless a policy keeps this kernel from here."""
        desk = NodeId(sender)
        policy = self._rooms.charter.effective(now)
        zone = zone_of(self._rooms, self._me.node)
        if policy.may(names_of(self._rooms, desk), request.kernel, zone):
            return self._admit(sender, request, now)
        why = f"the policy here lets no {request.kernel} of {desk} run in zone {zone or '(none)'}"
        hint = "ask the mesh's operator or this node's owner; " + SHOW
        return [Send(desk, LeaseRefusal(request.job, request.device, NotAllowed.code, why, hint))]

    def administer(self, _: Sender, _wish: Message, now: Instant) -> list[Effect]:
        """Check that this node may administer the mesh.

        Raises:
            NotAllowed: The mesh's policy names others.
        """
        return self._among(self._policy(now).administrators, "administer", now)

    def observe(self, _: Sender, _query: Message, now: Instant) -> list[Effect]:
        """Check that this node may look at the others.

        Raises:
            NotAllowed: The mesh's policy names others.
        """
        return self._among(self._policy(now).observers, "observe", now)

    # --- facts ------------------------------------------------------------------------------------

    def member_up(self, _: Sender, fact: MemberUp, now: Instant) -> list[Effect]:
        """Tell a member which policy is held here."""
        if fact.record.node == self._me.node:
            return []
        return self._rooms.charter.member_up(fact.record.node, now)

    def member_down(self, _: Sender, fact: MemberDown, _now: Instant) -> list[Effect]:
        """Forget a member that is gone."""
        self._rooms.charter.member_down(fact.node)
        return []

    def changed(self, _: Sender, fact: ethics.CharterChanged, now: Instant) -> list[Effect]:
        """Have the ledger keep a change at once, and let waiting jobs look for places again."""
        ledger = self._rooms.ledger
        ledger.policy = fact.effective
        kind = _LEAVES.get(fact.what)
        logged = [] if kind is None else ledger.write(kind, fact.record, now, at_once=True)
        return [*logged, *self._rooms.desk.devices_changed(now)]

    # --- how it is done ---------------------------------------------------------------------------

    def _policy(self, now: Instant) -> Policy:
        return self._rooms.charter.effective(now)

    def _among(self, named: tuple[str, ...], what: str, now: Instant) -> list[Effect]:
        mine = names_of(self._rooms, self._me.node)
        if named and not any(name in named or "*" in named for name in mine):
            version = self._policy(now).version
            raise NotAllowed(
                f"'{what}' of the mesh's policy (version {version}) names {', '.join(named)}; "
                f"this node holds {', '.join(mine[1:]) or 'no role'}",
                hint="ask the mesh's operator for a role or a line there; " + SHOW,
            )
        return []

    def _signers(self) -> list[str]:
        """Return the names of the members that are likely to hold the mesh's key."""
        return [
            record.name
            for record in self._rooms.membership.members()
            if Role.OPERATOR in self._rooms.doorkeeper.roles_of(record.node)
        ]

    def _done(self, sender: Sender, now: Instant) -> Reply:
        return Reply(sender, Report("qallow.policy/v1", self._document(now)))

    def _document(self, now: Instant) -> dict[str, Any]:
        charter = self._rooms.charter
        return {
            "schema": "qallow.policy/v1",
            **describe(charter.holds, now),
            "signs": charter.signs,
            "signers": self._signers(),
            "mesh": charter.holds.document(),
            "own": msgspec.to_builtins(charter.holds.owner),
        }
