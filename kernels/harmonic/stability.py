"""Up to which coupling the ring is stable."""

import math


def stable_coupling(pockets: int) -> float:
    """Return the greatest coupling at which no phase mode grows.

    A mode of angle ``theta`` is multiplied by ``1 - 0.15 k - 120 k (1 - cos theta)`` each tick, so
    the fastest one, of the greatest ``1 - cos theta``, sets the bound.

    Args:
        pockets: Pockets in the ring, at least 2.

    Returns:
        0.00832813 for every even number, 0.0111019 for 3, falling towards the even bound.
    """
    steepest = 2.0 if pockets % 2 == 0 else 1.0 + math.cos(math.pi / pockets)
    return 2.0 / (0.15 + 120.0 * steepest)
