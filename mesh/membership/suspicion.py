"""How long a suspected member may still defend itself."""

import math
from dataclasses import dataclass

from qallow_agent.base.units import Seconds
from qallow_agent.mesh.membership.settings import MembershipSettings


def remaining_suspicion(
    confirmations: int, wanted: int, elapsed: Seconds, shortest: Seconds, longest: Seconds
) -> Seconds:
    """Return how long a suspected member may still defend itself.

    The wait shrinks logarithmically from ``longest`` to ``shortest`` as independent peers confirm.

    Args:
        confirmations: Peers that agree with the first accuser; 0 <= confirmations.
        wanted: Peers after which only ``shortest`` remains; 0 leaves ``shortest`` at once.
        elapsed: Time since suspicion began.
        shortest: The wait once enough peers agree.
        longest: The wait on a lone accusation.

    Returns:
        Seconds left; negative when overdue.

    Source: Lifeguard (Dadgar, Phillips, Currey, 2017), section IV-B, LHA-Suspicion.
    """
    if wanted <= 0:
        return shortest - elapsed
    share = math.log(confirmations + 1) / math.log(wanted + 1)
    return max(shortest, longest - share * (longest - shortest)) - elapsed


@dataclass(slots=True)
class Suspicion:
    """One suspected member's clock, as it runs here.

    Args:
        began_s: When we began to suspect.
        accusers: How many distinct members are named as not reaching it.
        decided_s: When two refused links or a rumour of its death set a shorter end, if any.
    """

    began_s: Seconds
    accusers: int
    decided_s: Seconds | None = None

    def ends_s(self, helpers: int, settings: MembershipSettings) -> Seconds:
        """Return when the member is declared dead unless it refutes.

        Args:
            helpers: Other members alive that could agree; a mesh of two cannot ask for three.
            settings: The waits.
        """
        wait = remaining_suspicion(
            confirmations=max(0, self.accusers - 1),
            wanted=min(settings.suspicion_witnesses, helpers),
            elapsed=0.0,
            shortest=settings.suspicion_shortest_s,
            longest=max(settings.suspicion_longest_s, settings.suspicion_shortest_s),
        )
        ends_s = self.began_s + wait
        return ends_s if self.decided_s is None else min(ends_s, self.decided_s)

    def shorten(self, ends_s: Seconds) -> None:
        """Set a shorter end; the earliest one counts."""
        self.decided_s = ends_s if self.decided_s is None else min(self.decided_s, ends_s)

    def shift(self, seconds: Seconds) -> None:
        """Give back time in which we were frozen and could not have heard a refutation."""
        self.began_s += seconds
        if self.decided_s is not None:
            self.decided_s += seconds
