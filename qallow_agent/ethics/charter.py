"""The charter: which policy is in force here, and how the mesh's reaches every node."""

from collections.abc import Mapping

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import InvariantBroken, NotAllowed, UsageError
from qallow_agent.base.ids import Entropy, NodeId, Sender
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant, soonest
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.bounds import check_mesh
from qallow_agent.ethics.mesh_policy import (
    MeshPolicy,
    decode_policy,
    document_digest,
    encode_policy,
    sign_policy,
    verify_policy,
)
from qallow_agent.ethics.messages import (
    Change,
    CharterChanged,
    PolicyDocument,
    PolicyOffer,
    PolicyWanted,
)
from qallow_agent.ethics.owner import OwnerPolicy, Pause
from qallow_agent.ethics.owners_word import OwnersWord
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.provisions import Held, Provisions
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.ethics.spread import Spread

LOOK_S: Seconds = 60.0
"""While something ends by the wall clock, it is looked at this often: clocks are set."""

RECORD = "qallow/charter-change/v1"
"""The domain of what a ledger keeps of a change."""


class Charter:
    """Holds the policies, adopts what the mesh's key signed, and ends what is over; a Machine.

    Everything that changes what is in force is announced as :class:`CharterChanged`, after it is
    kept. What a peer says is believed only with the mesh key's signature and a later version.

    Args:
        mesh_key: The mesh's public key.
        signer: Its secret half, on the node that has it.
        settings: Preset and periods.
        rng: Picks whom to tell.
        kept: What was kept under ``ethics/``.
        by_file: The owner's policy from the file that a setting names; counts instead of the kept.

    Raises:
        StorageCorrupt: Kept bytes do not decode; names the file.
    """

    def __init__(
        self,
        *,
        mesh_key: bytes,
        signer: SigningKey | None,
        settings: EthicsSettings,
        rng: Entropy,
        kept: Mapping[str, bytes],
        by_file: OwnerPolicy | None = None,
    ) -> None:
        self.holds = Provisions(mesh_key, settings, kept, by_file)
        self.owner = OwnersWord(self.holds, self._changed)
        self._mesh_key = mesh_key
        self._signer = signer
        self._spread = Spread(settings.offer_s, rng)
        self._quiet = False
        self._begun = False
        self._look_s: Seconds | None = 0.0

    # --- what others read -----------------------------------------------------------------------

    @property
    def digest(self) -> bytes:
        """The digest of the mesh's policy, by which nodes compare what they hold."""
        return self.holds.digest

    @property
    def pause(self) -> Pause | None:
        """The pause that the owner ordered; None when there is none, or it is over."""
        return self.holds.exceptions.pause

    @property
    def signs(self) -> bool:
        """Whether this node holds the mesh's key, hence can sign policies."""
        return self._signer is not None

    def quiet(self, now: Instant) -> int | None:
        """Return when the quiet hours that are on end, seconds since 1970; None without."""
        return self.holds.quiet_until_s(now)

    def consents(self, now: Instant) -> bool:
        """Return whether the owner's policy and the hour let this node work; pauses are apart."""
        return self.effective(now).consent and self.quiet(now) is None

    def effective(self, now: Instant) -> Policy:
        """Return the policy that holds here and now: the mesh's, the owner's, and exceptions."""
        return self.holds.effective(now)

    # --- the Machine interface ------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in what a member says about policies.

        Raises:
            PeerError: What it says is forged, malformed or out of bounds.
        """
        node = NodeId(sender)
        match message:
            case PolicyOffer():
                return self._compare(node, message, now)
            case PolicyWanted() if self.holds.held.signature:
                held = self.holds.held
                return self._spread.serve(node, PolicyDocument(held.document, held.signature), now)
            case PolicyDocument():
                verify_policy(message.document, message.signature, self._mesh_key)
                return self._adopt(message, now)
        return []

    def member_up(self, node: NodeId, now: Instant) -> list[Effect]:
        """Tell a member that is there which policy we hold."""
        return self._spread.member_up(node, self._offer(), now)

    def member_down(self, node: NodeId) -> None:
        """Forget a member that is gone."""
        self._spread.member_down(node)

    def tick(self, now: Instant) -> list[Effect]:
        """End what is over, notice when quiet hours begin and end, and tell a member."""
        effects = self._spread.tick(self._offer(), now)
        if self._look_s is None or now.mono_s < self._look_s:
            return effects
        if not self._begun:
            self._begun = True
            effects += self._changed("begin", None, now)
        if self.holds.doubt:
            effects.append(Notice("policy.left-out", self.holds.doubt, "warning"))
            self.holds.doubt = ""
        pause, overrides, kept = self.holds.exceptions.expire(now.wall_ns // 1_000_000)
        effects += kept
        if pause is not None:
            effects += self._changed("resume", pause, now)
        if overrides:
            effects += self._changed("override-over", overrides, now)
        quiet = self.quiet(now) is not None
        if quiet != self._quiet:
            self._quiet = quiet
            effects += self._changed("quiet" if quiet else "quiet-over", None, now)
        self._look_s = self._next_look_s(now)
        return effects

    def next_deadline(self) -> Seconds | None:
        """Return when something ends or somebody is to be told; None for never."""
        return soonest(self._look_s, self._spread.next_deadline())

    def check(self) -> None:
        """Check that the mesh's policy is the one whose bytes are kept.

        Raises:
            InvariantBroken: It is not.
        """
        if encode_policy(self.holds.mesh) != self.holds.held.document:
            raise InvariantBroken("the policy in force is not the one that was signed")

    # --- what the operator changes ----------------------------------------------------------------

    def sign(self, policy: MeshPolicy, now: Instant) -> list[Effect]:
        """Sign a policy for the whole mesh and adopt it; version 0 becomes the next one.

        Raises:
            NotAllowed: This node does not hold the mesh's key.
            UsageError: The version is not later than the one in force.
            Malformed: Something is out of bounds.
        """
        if self._signer is None:
            raise NotAllowed("this node does not hold the mesh's key, which signs policies")
        newest = self.holds.mesh.version
        if not policy.version:
            policy = msgspec.structs.replace(policy, version=newest + 1)
        if policy.version <= newest:
            raise UsageError(
                f"the policy is version {policy.version}, the mesh has version {newest}",
                hint=f"write version = {newest + 1}, or leave it out",
            )
        check_mesh(policy)
        return self._adopt(PolicyDocument(*sign_policy(policy, self._signer)), now)

    # --- how it is done ---------------------------------------------------------------------------

    def _offer(self) -> PolicyOffer:
        return PolicyOffer(self.holds.mesh.version, self.digest)

    def _compare(self, node: NodeId, offer: PolicyOffer, now: Instant) -> list[Effect]:
        """Ask for what is later than ours; tell what is earlier that ours is later."""
        theirs, ours = (offer.version, offer.digest), (self.holds.mesh.version, self.digest)
        if theirs > ours:
            return self._spread.ask(node, offer, now)
        return self._spread.answer(node, self._offer(), now) if theirs < ours else []

    def _adopt(self, signed: PolicyDocument, now: Instant) -> list[Effect]:
        """Take a policy whose signature is verified, if it is later than ours.

        Of two with one version, which only a careless operator signs, all nodes take the same.
        """
        policy = decode_policy(signed.document)
        check_mesh(policy)
        later = (policy.version, document_digest(signed.document))
        if later <= (self.holds.mesh.version, self.digest):
            return []
        held = Held(signed.document, signed.signature, now.wall_ns // 1_000_000, self.digest)
        return [
            self.holds.hold_mesh(held, policy),
            *self._changed("mesh", None, now),
            *self._spread.tell_many(self._offer(), now),
        ]

    def _changed(self, what: Change, subject: object, now: Instant) -> list[Effect]:
        """Announce a change, and look at everything again."""
        self._look_s = now.mono_s
        facts: dict[str, str | int | float | bool | None] = {
            "what": what,
            "version": self.holds.mesh.version,
            "policy": self.digest.hex()[:16],
        }
        notice = Notice("policy.changed", "what this node may do has changed", facts=facts)
        return [*([] if what == "begin" else [notice]), self._fact(what, subject, now)]

    def _fact(self, what: Change, subject: object, now: Instant) -> Announce:
        """Return a change as the node's rooms hear of it, with what a ledger shall keep."""
        effective = self.holds.effective_digest(now)
        value = {
            "what": what,
            "time_ms": now.wall_ns // 1_000_000,
            "subject": msgspec.to_builtins(subject, builtin_types=(bytes,)),
            "mesh": self.digest,
            "effective": effective,
        }
        if what in {"begin", "mesh", "owner"}:
            value["policy"] = msgspec.to_builtins(self.effective(now), builtin_types=(bytes,))
        record = canonical(RECORD, value)
        return Announce(CharterChanged(what, self.digest, effective, record))

    def _next_look_s(self, now: Instant) -> Seconds | None:
        next_s = self.holds.next_change_s(now)
        if next_s is None:
            return None
        return now.mono_s + min(LOOK_S, max(next_s - now.wall_s, 0.001))
