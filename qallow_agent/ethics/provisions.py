"""Provisions: the policies that this node holds, and what they come to right now."""

from collections.abc import Mapping
from typing import Any

import msgspec

from qallow_agent.base.errors import PeerError, StorageCorrupt
from qallow_agent.base.machine import Effect, Instant, Persist
from qallow_agent.ethics.exceptions import NAME as EXCEPTIONS
from qallow_agent.ethics.exceptions import Exceptions
from qallow_agent.ethics.hours import quiet_until_s
from qallow_agent.ethics.mesh_policy import (
    MeshPolicy,
    built_in,
    decode_policy,
    document_digest,
    encode_policy,
    verify_policy,
)
from qallow_agent.ethics.owner import (
    NOTHING,
    OwnerPolicy,
    decode_owner,
    encode_owner,
    stricter,
)
from qallow_agent.ethics.policy import Override, Policy, policy_digest
from qallow_agent.ethics.settings import EthicsSettings

MESH = "ethics/mesh"
OWNER = "ethics/owner"


class Held(msgspec.Struct, frozen=True, array_like=True):
    """The mesh's policy as it is kept: signed bytes, when they came, and the digest before."""

    document: bytes
    signature: bytes = b""
    adopted_ms: int = 0
    previous: bytes = b""


class _Owned(msgspec.Struct, frozen=True, array_like=True):
    document: bytes = b""
    preset: str = ""


class _InForce(msgspec.Struct, frozen=True):
    overrides: tuple[Override, ...]
    policy: Policy
    digest: bytes


class Provisions:
    """The mesh's policy, the owner's, the preset, and exceptions.

    Args:
        mesh_key: The mesh's public key; a kept policy that it did not sign is left out.
        settings: The preset that the settings name.
        kept: What was kept under ``ethics/``.
        by_file: The owner's policy from the file that a setting names; counts instead of the kept.

    Raises:
        StorageCorrupt: Kept bytes do not decode; names the file.
    """

    def __init__(
        self,
        mesh_key: bytes,
        settings: EthicsSettings,
        kept: Mapping[str, bytes],
        by_file: OwnerPolicy | None,
    ) -> None:
        self.held, self.doubt = _kept_mesh(kept.get(MESH), mesh_key)
        self.mesh: MeshPolicy = decode_policy(self.held.document)
        owned = _kept_owner(kept.get(OWNER))
        kept_policy = decode_owner(owned.document) if owned.document else NOTHING
        self.owner = kept_policy if by_file is None else by_file
        self.by_file = settings.policy_file if by_file is not None else ""
        self.chosen = owned.preset
        self.found = "desktop"
        self.exceptions = Exceptions(kept.get(EXCEPTIONS))
        self._setting = settings.preset
        self._in_force: _InForce | None = None

    @property
    def digest(self) -> bytes:
        """The digest of the mesh's policy, by which nodes compare what they hold."""
        return document_digest(self.held.document)

    @property
    def preset(self) -> tuple[str, str]:
        """The preset that this node is judged by, and who says so: owner, setting or found."""
        if self.chosen:
            return self.chosen, "owner"
        if self._setting != "auto":
            return self._setting, "setting"
        return self.found, "found"

    def effective(self, now: Instant) -> Policy:
        """Return the policy that holds here and now: the mesh's, the owner's, and exceptions."""
        return self._work_out(now).policy

    def effective_digest(self, now: Instant) -> bytes:
        """Return the digest of the policy that holds here and now."""
        return self._work_out(now).digest

    def quiet_until_s(self, now: Instant) -> int | None:
        """Return when the quiet hours that are on end, seconds since 1970; None without."""
        return quiet_until_s(self.effective(now).quiet, now.wall_s)

    def next_change_s(self, now: Instant) -> float | None:
        """Return when something begins or ends by itself, seconds since 1970; None for never."""
        changes = [float(each.next_change_s(now.wall_s)) for each in self.effective(now).quiet]
        wall_ms = now.wall_ns // 1_000_000
        changes += [each.until_ms / 1000 for each in self.mesh.overrides if each.until_ms > wall_ms]
        end_ms = self.exceptions.next_end_ms()
        if end_ms is not None:
            changes.append(end_ms / 1000)
        return min(changes, default=None)

    def hold_mesh(self, held: Held, policy: MeshPolicy) -> Effect:
        """Take another policy of the mesh; return what keeps it."""
        self.held, self.mesh = held, policy
        self.forget()
        return Persist(MESH, msgspec.msgpack.encode(held))

    def hold_owner(self, policy: OwnerPolicy, preset: str) -> Effect:
        """Take another policy and preset of the owner's; return what keeps them."""
        self.owner, self.chosen = policy, preset
        self.forget()
        document = b"" if policy == NOTHING else encode_owner(policy)
        if not document and not preset:
            return Persist(OWNER, None)
        return Persist(OWNER, msgspec.msgpack.encode(_Owned(document, preset)))

    def document(self) -> dict[str, Any]:
        """Return the mesh's policy, JSON-shaped, as :func:`msgspec.convert` takes it back."""
        document: dict[str, Any] = msgspec.to_builtins(self.mesh)
        return document

    def forget(self) -> None:
        """Work out anew what is in force: something it follows from has changed."""
        self._in_force = None

    def _work_out(self, now: Instant) -> _InForce:
        wall_ms = now.wall_ns // 1_000_000
        overrides = tuple(
            each
            for each in (*self.mesh.overrides, *self.exceptions.overrides)
            if wall_ms < each.until_ms
        )
        if self._in_force is None or self._in_force.overrides != overrides:
            merged = stricter(self.mesh.policy(self.preset[0]), self.owner)
            policy = msgspec.structs.replace(merged, overrides=overrides)
            self._in_force = _InForce(overrides, policy, policy_digest(policy))
        return self._in_force


def _kept_mesh(kept: bytes | None, mesh_key: bytes) -> tuple[Held, str]:
    """Return the mesh's policy as kept, or the built-in one and why the kept one is left out."""
    usual = Held(encode_policy(built_in()))
    if kept is None:
        return usual, ""
    try:
        held = msgspec.msgpack.decode(kept, type=Held)
        verify_policy(held.document, held.signature, mesh_key)
        decode_policy(held.document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "delete it; peers will tell us again"
        raise StorageCorrupt(f"{MESH} does not decode: {error}", hint=hint) from error
    except PeerError as error:
        return usual, f"{MESH} is left out: {error.message}"
    return held, ""


def _kept_owner(kept: bytes | None) -> _Owned:
    try:
        owned = _Owned() if kept is None else msgspec.msgpack.decode(kept, type=_Owned)
        if owned.document:
            decode_owner(owned.document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, PeerError) as error:
        raise StorageCorrupt(
            f"{OWNER} does not decode: {error}",
            hint="delete it, then set the owner's policy again: qallow-agent policy set --local",
        ) from error
    return owned
