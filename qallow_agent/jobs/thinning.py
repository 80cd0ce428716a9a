"""Which of many checkpoints to keep: the newest close together, the old ones far apart."""

from collections.abc import Sequence


def surplus(ticks: Sequence[int], most: int) -> list[int]:
    """Return which of some checkpoints to let go of, as places in the sequence.

    The last is the one to go on from and is never among them; the first is the farthest one can
    roll back. Of the others goes the one that is missed least: whose neighbours lie closest to one
    another, compared with how far back it is.

    Args:
        ticks: After which they were taken, ascending.
        most: How many may stay; at least 1.
    """
    places = list(range(len(ticks)))
    gone: list[int] = []
    while len(places) > max(most, 1):
        gone.append(places.pop(_least_missed([ticks[place] for place in places])))
    return sorted(gone)


def _least_missed(ticks: Sequence[int]) -> int:
    if len(ticks) == 2:  # noqa: PLR2004 - the first and the last
        return 0
    last = ticks[-1]
    gaps = [
        (ticks[place + 1] - ticks[place - 1]) / max(last - ticks[place], 1)
        for place in range(1, len(ticks) - 1)
    ]
    return 1 + gaps.index(min(gaps))
