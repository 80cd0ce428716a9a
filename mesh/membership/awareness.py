"""How well we ourselves are: a node that misses answers doubts itself before it doubts others."""


class Awareness:
    """The local health score: 0 is well, ``limit`` is as unwell as we admit.

    Args:
        limit: Highest score; the probe period grows to 1 + limit times its normal length.

    Source: Lifeguard (Dadgar, Phillips, Currey, 2017), section IV-A, Local Health Multiplier.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.score = 0

    def note(self, delta: int) -> None:
        """Move the score; it saturates at 0 and the limit.

        A probe answered is -1; one failed, a relay that said nothing, and having to refute
        suspicion of ourselves are +1 each.
        """
        self.score = max(0, min(self._limit, self.score + delta))

    @property
    def stretch(self) -> int:
        """The factor on probe periods and timeouts: score + 1."""
        return self.score + 1
