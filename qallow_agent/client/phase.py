"""Where a client's conversation with the desk about one job is."""

from enum import Enum


class Phase(Enum):
    """Every phase but OPEN ends at a known time at the latest."""

    ASKED = "asked"
    OPEN = "open"
    KEEPING = "keeping"
    """Results are being deposited."""
    ENDING = "ending"
    FETCHING = "fetching"
    """Somebody else has computed it: the retained result is on its way."""
    OVER = "over"
