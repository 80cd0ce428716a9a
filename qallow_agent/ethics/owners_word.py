"""The owner's word: everything that a person changes about their own node, at once and kept."""

from collections.abc import Callable

from qallow_agent.base.errors import ConfigError, UsageError
from qallow_agent.base.machine import Effect, Instant
from qallow_agent.ethics.bounds import check_owner
from qallow_agent.ethics.messages import Change
from qallow_agent.ethics.owner import OwnerPolicy
from qallow_agent.ethics.provisions import Provisions

Tell = Callable[[Change, object, Instant], list[Effect]]
"""Announces a change, given what it is about."""


class OwnersWord:
    """Carries out what an owner says; every change is kept before it is announced.

    Args:
        holds: What this node holds.
        tell: Announces a change.
    """

    def __init__(self, holds: Provisions, tell: Tell) -> None:
        self._holds = holds
        self._tell = tell

    def set_policy(self, policy: OwnerPolicy, now: Instant) -> list[Effect]:
        """Take what the owner asks beyond the mesh.

        Raises:
            ConfigError: A setting names the file that it comes from.
            Malformed: Something is out of bounds.
        """
        if self._holds.by_file:
            raise ConfigError(
                f"the owner's policy comes from {self._holds.by_file}",
                hint="change that file and restart, or empty the setting ethics.policy_file",
            )
        check_owner(policy)
        kept = self._holds.hold_owner(policy, self._holds.chosen)
        return [kept, *self._tell("owner", policy, now)]

    def choose_preset(self, name: str, now: Instant) -> list[Effect]:
        """Judge this node by another preset than its settings name; empty for theirs again.

        Raises:
            UsageError: The mesh's policy has no such preset.
        """
        holds = self._holds
        if name and name not in holds.mesh.presets:
            raise UsageError(
                f"the mesh's policy has no preset {name!r}",
                hint=f"one of {', '.join(sorted(holds.mesh.presets))}",
            )
        kept = holds.hold_owner(holds.owner, name)
        return [kept, *self._tell("owner", name, now)]

    def look_like(self, preset: str, now: Instant) -> list[Effect]:
        """Take in what kind of box this looks like; counts while nobody says otherwise."""
        before = self._holds.preset
        self._holds.found = preset
        if self._holds.preset == before:
            return []
        self._holds.forget()
        return self._tell("owner", preset, now)

    def override(self, signal: str, for_s: float, why: str, now: Instant) -> list[Effect]:
        """Do without a signal for a while; 0 seconds end that.

        Raises:
            UsageError: No such signal, one that nobody can do without, or for too long.
        """
        exceptions = self._holds.exceptions
        before = exceptions.overrides
        kept = exceptions.override(signal, for_s, why, now.wall_ns // 1_000_000)
        if for_s:
            made = [each for each in exceptions.overrides if each not in before]
            return [kept, *self._tell("override", made, now)]
        ended = [each for each in before if each not in exceptions.overrides]
        return [kept, *self._tell("override-over", ended, now)] if ended else []

    def pause(self, for_s: float, why: str, now: Instant) -> list[Effect]:
        """Stop work here, for some seconds or, with 0, until it is resumed.

        Raises:
            UsageError: The time makes no sense, or the reason is too long.
        """
        kept = self._holds.exceptions.stop(for_s, why, now.wall_ns // 1_000_000)
        return [kept, *self._tell("pause", self._holds.exceptions.pause, now)]

    def resume(self, now: Instant) -> list[Effect]:
        """End the pause; without one nothing happens."""
        ended = self._holds.exceptions.pause
        if ended is None:
            return []
        return [self._holds.exceptions.resume(), *self._tell("resume", ended, now)]
