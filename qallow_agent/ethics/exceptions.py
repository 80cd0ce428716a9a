"""Exceptions: what a person says beside every policy, for a while; kept across restarts."""

import msgspec

from qallow_agent.base.errors import StorageCorrupt, UsageError
from qallow_agent.base.machine import Effect, Persist
from qallow_agent.ethics.bounds import OPERATORS, SCORED, is_reason, override_faults, signals_of
from qallow_agent.ethics.owner import LONGEST_OVERRIDE_S, WHY_LIMIT, Pause
from qallow_agent.ethics.policy import Override

NAME = "ethics/exceptions"

_SLACK_MS = 300_000
"""Clocks are set; one that was set back by more must not make an exception last for days."""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    pause: Pause | None
    overrides: tuple[Override, ...]


class Exceptions:
    """The pause and the owner's overrides of this node.

    Args:
        kept: The bytes kept under ``ethics/exceptions``; None when there are none.

    Raises:
        StorageCorrupt: The bytes do not decode.
    """

    def __init__(self, kept: bytes | None) -> None:
        held = _decode(kept)
        self.pause = held.pause
        self.overrides = held.overrides

    def stop(self, for_s: float, why: str, wall_ms: int) -> Effect:
        """Pause, until a moment or for good; the newest word counts.

        Raises:
            UsageError: The time is negative, or the reason is too long.
        """
        if not 0 <= for_s < float("inf"):
            raise UsageError(f"nobody can pause for {for_s} s", hint="--for 2h, or without it")
        _check_why(why)
        until_ms = wall_ms + round(for_s * 1000) if for_s else None
        self.pause = Pause(wall_ms, until_ms, why)
        return self._keep()

    def resume(self) -> Effect:
        """End the pause."""
        self.pause = None
        return self._keep()

    def override(self, word: str, for_s: float, why: str, wall_ms: int) -> Effect:
        """Do without the signals that a word names; 0 seconds end what was overridden.

        Raises:
            UsageError: No such signal, one that nobody can do without, or for too long.
        """
        signals = signals_of(word)
        if word in OPERATORS or not signals:
            fault = next(override_faults(Override(word, 0), ("override",)))
            why = fault.bounds.removeprefix("cannot be: ")
            raise UsageError(
                f"the signal {word!r} cannot be overridden: {why}",
                hint=f"signals are {', '.join(each for each in SCORED if each not in OPERATORS)}",
            )
        if not 0 <= for_s <= LONGEST_OVERRIDE_S:
            raise UsageError(
                f"an override cannot last {for_s:g} s",
                hint="at most 24h; what shall last belongs into the mesh's policy",
            )
        _check_why(why)
        rest = tuple(each for each in self.overrides if each.signal not in signals)
        until_ms = wall_ms + round(for_s * 1000)
        made = tuple(Override(each, until_ms, why) for each in signals if for_s)
        self.overrides = (*rest, *made)
        return self._keep()

    def expire(self, wall_ms: int) -> tuple[Pause | None, tuple[Override, ...], list[Effect]]:
        """Drop what is over; return the pause and the overrides that ended, and what keeps that."""
        latest_ms = wall_ms + LONGEST_OVERRIDE_S * 1000 + _SLACK_MS
        over = tuple(each for each in self.overrides if not wall_ms < each.until_ms <= latest_ms)
        ended = self.pause if self.pause and not self.pause.holds(wall_ms) else None
        if not over and ended is None:
            return None, (), []
        self.overrides = tuple(each for each in self.overrides if each not in over)
        self.pause = None if ended else self.pause
        return ended, over, [self._keep()]

    def next_end_ms(self) -> int | None:
        """Return when the first of them ends by itself; None when none does."""
        ends = [each.until_ms for each in self.overrides]
        if self.pause is not None and self.pause.until_ms is not None:
            ends.append(self.pause.until_ms)
        return min(ends, default=None)

    def _keep(self) -> Effect:
        if self.pause is None and not self.overrides:
            return Persist(NAME, None)
        return Persist(NAME, msgspec.msgpack.encode(_Kept(self.pause, self.overrides)))


def _check_why(why: str) -> None:
    if not is_reason(why):
        raise UsageError(
            f"the reason {why[:40]!r} cannot be", hint=f"at most {WHY_LIMIT} letters on one line"
        )


def _decode(kept: bytes | None) -> _Kept:
    if kept is None:
        return _Kept(None, ())
    try:
        return msgspec.msgpack.decode(kept, type=_Kept)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageCorrupt(
            f"{NAME} does not decode: {error}",
            hint="delete it, then pause and override again what shall be",
        ) from error
