"""What an advert says of a device's gate: open to new work or not, and why."""

from enum import StrEnum

import msgspec


class GateState(StrEnum):
    """What a device's gate does with new work."""

    OPEN = "open"
    DEFERS = "defers"
    REFUSES = "refuses"
    FORBIDS = "forbids"
    """Its owner, or a rule that waiting does not change, says no."""


class GateReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device's measured admission score came to when its node last told.

    ``s``, ``c`` and ``h`` are thousandths, ``culprits`` the signal that each is no greater for.
    ``why`` and ``fix`` are for people and empty while the gate is open. ``policy`` is the digest
    of the mesh's policy that it was judged by.
    """

    state: GateState
    s: int
    c: int
    h: int
    culprits: tuple[str, str, str] = ("", "", "")
    why: str = ""
    fix: str = ""
    policy: bytes = b""

    @property
    def e(self) -> int:
        """The sum, in thousandths."""
        return self.s + self.c + self.h
