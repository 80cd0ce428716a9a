"""The mesh's policy: what its operator signed, the same bytes on every node.

It holds every value, also those that its author left as they come, so that a digest means the same
rules in every release. Integers, texts and lists only: no float is ever signed.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.keys import SigningKey, verify
from qallow_agent.ethics.clauses import Committee, Grant, Zone
from qallow_agent.ethics.hours import Hours
from qallow_agent.ethics.policy import (
    DEFAULT_THRESHOLD,
    Override,
    Policy,
    PresetName,
    Ramp,
    preset,
)

PRESETS: tuple[PresetName, ...] = ("dedicated", "desktop", "field")
STRICTEST_FIRST: tuple[PresetName, ...] = ("desktop", "field", "dedicated")

MAX_DOCUMENT_BYTES = 48_000
"""With what an owner adds it fits into one leaf of a ledger, and into one message."""

MAX_VERSION = 1 << 31

_DOMAIN = "qallow/mesh-policy/v1"
_PREFIX = len(_DOMAIN) + 1


class Profile(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one preset means: the ramps of its signals, and the signals that do not apply."""

    ramps: Mapping[str, Ramp]
    skipped: tuple[str, ...] = ()


class MeshPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that an operator can say; the fields of :class:`Policy` by preset.

    Args:
        version: 0 for the one that is built in; each signed one has a higher version.
        threshold: Thousandths of E from which work is admitted.
        presets: The presets that nodes of this mesh may have.
    """

    version: int
    threshold: int
    presets: Mapping[str, Profile]
    grants: tuple[Grant, ...] = ()
    observers: tuple[str, ...] = ()
    administrators: tuple[str, ...] = ()
    zones: Mapping[str, Zone] = {}
    quiet: tuple[Hours, ...] = ()
    overrides: tuple[Override, ...] = ()
    committee: Committee = Committee()
    prices: tuple[int, ...] = ()
    dvfs: bool = False

    def policy(self, name: str) -> Policy:
        """Return what holds on a node of a preset; of the strictest, should that be forbidden."""
        chosen = next(each for each in (name, *STRICTEST_FIRST) if each in self.presets)
        profile = self.presets[chosen]
        return Policy(
            version=self.version,
            threshold=self.threshold,
            ramps=profile.ramps,
            skipped=profile.skipped,
            overrides=self.overrides,
            preset=chosen,
            grants=self.grants,
            observers=self.observers,
            administrators=self.administrators,
            zones=self.zones,
            quiet=self.quiet,
            committee=self.committee,
            prices=self.prices,
            dvfs=self.dvfs,
        )


def built_in() -> MeshPolicy:
    """Return the policy of a mesh whose operator has signed none: version 0."""
    profiles: dict[str, Profile] = {
        name: Profile(policy.ramps, policy.skipped)
        for name in PRESETS
        for policy in (preset(name),)
    }
    return MeshPolicy(0, DEFAULT_THRESHOLD, profiles)


def encode_policy(policy: MeshPolicy) -> bytes:
    """Return the canonical bytes of a policy."""
    return canonical(_DOMAIN, policy)[_PREFIX:]


def document_digest(document: bytes) -> bytes:
    """Return the 32-byte SHA-256 of a policy's canonical bytes under their own domain."""
    return hashlib.sha256(_signed(document)).digest()


def sign_policy(policy: MeshPolicy, signer: SigningKey) -> tuple[bytes, bytes]:
    """Return the canonical bytes of a policy and the mesh key's signature of them."""
    document = encode_policy(policy)
    return document, signer.sign(_signed(document))


def decode_policy(document: bytes) -> MeshPolicy:
    """Return the policy that canonical bytes hold; its bounds are not judged yet.

    Raises:
        TooLarge: More bytes than a policy may have; nothing was decoded.
        Malformed: The bytes are no policy, or not the one encoding that it has.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"a policy of {len(document)} bytes exceeds {MAX_DOCUMENT_BYTES}")
    try:
        policy = _DECODER.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"bytes are no policy: {error}") from error
    if encode_policy(policy) != document:
        raise Malformed("a policy is not in its canonical encoding")
    return policy


def verify_policy(document: bytes, signature: bytes, mesh_key: bytes) -> None:
    """Check that the mesh key signed a policy; do so before decoding it.

    Raises:
        TooLarge: More bytes than a policy may have.
        BadSignature: It did not.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"a policy of {len(document)} bytes exceeds {MAX_DOCUMENT_BYTES}")
    verify(mesh_key, _signed(document), signature)


def _signed(document: bytes) -> bytes:
    return _DOMAIN.encode() + b"\x00" + document


_DECODER = msgspec.msgpack.Decoder(MeshPolicy)
