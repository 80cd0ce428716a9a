"""Clauses of a policy that are no ramps: who may have what done where, zones, committee, prices."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

ANY = "*"
MOST_COMMITTEE = 31
HOURS_A_DAY = 24


class Grant(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Leave to have some kernels run in some zones.

    ``who`` names roles and node ids; ``kernels`` and ``zones`` may hold ``*`` as shells know it.
    """

    who: tuple[str, ...] = (ANY,)
    kernels: tuple[str, ...] = (ANY,)
    zones: tuple[str, ...] = (ANY,)

    def covers(self, whoever: Iterable[str], kernel: str, zone: str) -> bool:
        """Return whether one of a member's names and roles may run a kernel in a zone by this."""
        return (
            (ANY in self.who or any(name in self.who for name in whoever))
            and _any_matches(self.kernels, kernel)
            and _any_matches(self.zones, zone)
        )


class Zone(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a zone is for: the classes of data that may be worked on there; ``*`` for any."""

    classes: tuple[str, ...] = (ANY,)

    def takes(self, data_class: str) -> bool:
        """Return whether data of a class may be worked on here."""
        return ANY in self.classes or data_class in self.classes


class Committee(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who certifies: the pinned members, or up to ``size`` validators that the mesh picks."""

    size: int = MOST_COMMITTEE
    members: tuple[str, ...] = ()


def permits(grants: Iterable[Grant], whoever: Iterable[str], kernel: str, zone: str) -> bool:
    """Return whether one of some grants gives leave."""
    names = tuple(whoever)
    return any(grant.covers(names, kernel, zone) for grant in grants)


def _any_matches(patterns: Iterable[str], word: str) -> bool:
    return any(fnmatchcase(word, pattern) for pattern in patterns)
