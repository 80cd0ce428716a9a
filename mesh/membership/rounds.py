"""One probe from its first datagram to its verdict, and one probe on behalf of another."""

from dataclasses import dataclass, field

from qallow_agent.base.ids import NodeId
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.membership.settings import MembershipSettings


@dataclass(slots=True)
class Round:
    """One probe of one member.

    Args:
        seq: Names the probe in its answers.
        target: Who is probed.
        began_s: When the first datagram left.
        stretch: Factor on every wait, from our local health.
        refused: Whether a refused link made us ask; then everybody is asked at once.
        copies: Datagrams sent so far.
        relays: Members asked to probe it too.
        relayed_s: When they were asked; None before.
        nacks: Relays that said they hear nothing either.
    """

    seq: int
    target: NodeId
    began_s: Seconds
    stretch: int
    refused: bool = False
    copies: int = 0
    relays: tuple[NodeId, ...] = ()
    relayed_s: Seconds | None = None
    nacks: list[NodeId] = field(default_factory=list)

    def copy_due_s(self, settings: MembershipSettings) -> Seconds | None:
        """Return when the next datagram leaves; None when all have left."""
        if self.copies >= settings.probe_copies:
            return None
        return self.began_s + self.copies * settings.copy_gap_s * self.stretch

    def relays_due_s(self, settings: MembershipSettings) -> Seconds | None:
        """Return when others are asked; None when they were."""
        if self.relayed_s is not None:
            return None
        return self.began_s + (0.0 if self.refused else settings.relay_after_s * self.stretch)

    def verdict_s(self, settings: MembershipSettings) -> Seconds:
        """Return when silence becomes suspicion.

        It counts from when others were really asked, so that a late tick of ours leaves them
        their time to answer.
        """
        if self.refused:
            patience_s, asked_s = settings.refused_verdict_s, self.began_s
        else:
            patience_s = (settings.verdict_after_s - settings.relay_after_s) * self.stretch
            asked_s = self.began_s + settings.relay_after_s * self.stretch
        return (asked_s if self.relayed_s is None else self.relayed_s) + patience_s


@dataclass(frozen=True, slots=True)
class Errand:
    """A probe that another member asked of us.

    Args:
        origin: Who asked.
        origin_seq: The name of its own probe, which our answer carries.
        target: Whom we probe.
        ends_s: When we say that we hear nothing.
    """

    origin: NodeId
    origin_seq: int
    target: NodeId
    ends_s: Seconds
