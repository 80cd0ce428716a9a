"""The owner's word about one node: a policy that can only be stricter, and pauses."""

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.ethics.clauses import Grant
from qallow_agent.ethics.hours import Hours
from qallow_agent.ethics.policy import Policy, Ramp

LONGEST_OVERRIDE_S = 24 * 3_600
"""An exception that lasts longer than a day is a policy, and belongs into one."""

WHY_LIMIT = 200

MAX_OWNER_BYTES = 12_000
"""Beside a mesh's policy it fits into one leaf of a ledger."""

_DOMAIN = "qallow/owner-policy/v1"
_PREFIX = len(_DOMAIN) + 1


class OwnerPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an owner asks beyond the mesh; the defaults ask nothing.

    Args:
        threshold: Thousandths of E from which work is admitted here; 0 for the mesh's.
        ramps: Signals to be judged by these ramps where they are stricter.
        required: Signals that count here although the preset leaves them out.
        grants: Who may submit what here.
        classes: Classes of data that are admitted here; without any, all that the mesh admits.
        quiet: When no work is taken, besides the mesh's quiet hours.
        consent: Whether this node works at all.
        dvfs: Whether frequencies and power limits may be changed where the mesh permits it.
    """

    threshold: int = 0
    ramps: dict[str, Ramp] = {}
    required: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    classes: tuple[str, ...] = ()
    quiet: tuple[Hours, ...] = ()
    consent: bool = True
    dvfs: bool = True


class Pause(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A person's word that this node does no work, until a moment or, with None, until resumed."""

    since_ms: int
    until_ms: int | None = None
    why: str = ""

    def holds(self, wall_ms: int) -> bool:
        """Return whether it is in force; a clock that was set back prolongs it."""
        return self.until_ms is None or wall_ms < self.until_ms


NOTHING = OwnerPolicy()
"""The policy of an owner who asks nothing."""

_DECODER = msgspec.msgpack.Decoder(OwnerPolicy)


def stricter(mesh: Policy, local: OwnerPolicy) -> Policy:
    """Return a mesh's policy with what an owner asks beyond it.

    Whatever the owner writes, the score of any evidence by the result is at most that by the
    mesh's policy, and whatever the result permits, the mesh's policy permits.
    """
    ramps = dict(mesh.ramps)
    for signal, ramp in local.ramps.items():
        if signal in ramps:
            ramps[signal] = stricter_ramp(ramps[signal], ramp)
    return msgspec.structs.replace(
        mesh,
        threshold=max(mesh.threshold, local.threshold),
        ramps=ramps,
        skipped=tuple(signal for signal in mesh.skipped if signal not in local.required),
        own_grants=local.grants,
        own_classes=local.classes,
        quiet=tuple(dict.fromkeys((*mesh.quiet, *local.quiet))),
        consent=mesh.consent and local.consent,
        dvfs=mesh.dvfs and local.dvfs,
    )


def stricter_ramp(first: Ramp, second: Ramp) -> Ramp:
    """Return the ramp that scores no value higher than either; one of another slope is ignored.

    Both ends move towards comfort, so that the line lies below both wherever it is not flat.
    """
    if rises(first) != rises(second):
        return first
    pick = max if rises(first) else min
    return Ramp(pick(first.bad, second.bad), pick(first.good, second.good))


def rises(ramp: Ramp) -> bool:
    """Return whether larger values are better."""
    return ramp.good > ramp.bad


def encode_owner(policy: OwnerPolicy) -> bytes:
    """Return the canonical bytes of an owner's policy."""
    return canonical(_DOMAIN, policy)[_PREFIX:]


def decode_owner(document: bytes) -> OwnerPolicy:
    """Return the owner's policy that canonical bytes hold; its bounds are not judged yet.

    Raises:
        TooLarge: More bytes than a policy may have.
        Malformed: The bytes are none.
    """
    if len(document) > MAX_OWNER_BYTES:
        raise TooLarge(f"an owner's policy of {len(document)} bytes exceeds {MAX_OWNER_BYTES}")
    try:
        return _DECODER.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"bytes are no owner's policy: {error}") from error
