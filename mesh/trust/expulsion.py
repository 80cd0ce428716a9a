"""Ending membership: revocations carried out and spread, expired members let go."""

from qallow_agent.base.errors import UsageError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Announce, Effect, Expel, Instant, Persist, Send
from qallow_agent.base.notice import Notice
from qallow_agent.mesh.trust import revocations
from qallow_agent.mesh.trust.acquaintances import Acquaintances, known_name
from qallow_agent.mesh.trust.greeter import Greeter
from qallow_agent.mesh.trust.papers import Papers
from qallow_agent.mesh.trust.revocations import Revocations, in_batches
from qallow_agent.mesh.wire.facts import MemberDown
from qallow_agent.mesh.wire.identity import is_identity
from qallow_agent.mesh.wire.kinds import Revocation


class Expulsion:
    """Shuts out whom the mesh no longer vouches for.

    Args:
        papers: Our keys and standing.
        known: Members met.
        revoked: Revocations believed.
        greeter: Stops knocking at those who are out.
    """

    def __init__(
        self, papers: Papers, known: Acquaintances, revoked: Revocations, greeter: Greeter
    ) -> None:
        self._papers = papers
        self._known = known
        self._revoked = revoked
        self._greeter = greeter

    def revoke(self, node: NodeId, reason: str, now: Instant) -> list[Effect]:
        """End a node's membership for ever, here and by gossip everywhere; idempotent.

        Raises:
            NotAllowed: This node cannot issue, hence not revoke.
            UsageError: That is no node id, or our own.
        """
        signer, authority = self._papers.signer()
        if not is_identity(node):
            raise UsageError(f"{node[:40]!r} is no node id", hint="see `qallow-agent peers --json`")
        if node == self._papers.node:
            raise UsageError("a node does not revoke itself", hint="use `qallow-agent leave`")
        revocation = revocations.revoke(
            signer,
            authority,
            mesh=self._papers.standing.mesh,
            node=node,
            reason=reason,
            now_s=now.wall_ns // 1_000_000_000,
        )
        return self.take((revocation,))

    def take(self, offered: tuple[Revocation, ...]) -> list[Effect]:
        """Carry out what is new among some revocations, and tell everyone linked.

        Raises:
            PeerError: One of them is forged or unjustified; none was carried out.
        """
        standing = self._papers.standing
        fresh = self._revoked.add(offered, standing.mesh, standing.mesh_key)
        if not fresh:
            return []
        effects: list[Effect] = [Persist(revocations.NAME, self._revoked.encode())]
        for revocation in fresh:
            effects += self._carry_out(revocation)
        effects += [
            Send(node, batch) for node in self._known.linked() for batch in in_batches(fresh)
        ]
        return effects

    def bans(self) -> list[Effect]:
        """Return what keeps every revoked node out of a fresh transport."""
        return [Expel(item.node, ban=True) for item in self._revoked.all()]

    def tell(self, node: NodeId) -> list[Effect]:
        """Tell a node that came up every revocation."""
        return [Send(node, batch) for batch in in_batches(self._revoked.all())]

    def expire(self, now_s: int) -> list[Effect]:
        """Let members go whose certificate has ended; they may come back with a fresh one."""
        effects: list[Effect] = []
        for node in self._known.expired(now_s):
            effects += self._let_go(node)
            effects.append(Expel(node))
            effects.append(
                Notice("trust.expired", "a member's certificate expired", "warning", {"node": node})
            )
        return effects

    def _carry_out(self, revocation: Revocation) -> list[Effect]:
        node = revocation.node
        ours = node == self._papers.node
        notice = Notice(
            "trust.revoked",
            "this node was revoked" if ours else "a node was revoked",
            "error" if ours else "warning",
            {"node": node, "issuer": revocation.issuer, "why": revocation.reason},
        )
        if ours:
            return [notice]
        dropped = self._let_go(node)
        down: list[Effect] = [Announce(MemberDown(node, left=True))] if dropped else []
        return [*dropped, Expel(node, ban=True), *down, notice]

    def _let_go(self, node: NodeId) -> list[Effect]:
        self._greeter.forget(node)
        return [Persist(known_name(node), None)] if self._known.drop(node) else []
