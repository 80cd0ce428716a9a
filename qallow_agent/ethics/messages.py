"""What policy rooms tell one another, their own node, and what people ask of them."""

from typing import Literal

from qallow_agent.base.message import Message

# --- between nodes --------------------------------------------------------------------------------


class PolicyOffer(Message, tag="policy.offer"):
    """The sender's policy of the mesh has this version and digest."""

    version: int
    digest: bytes


class PolicyWanted(Message, tag="policy.wanted"):
    """Please send me your policy: it is of a later version than mine."""

    version: int


class PolicyDocument(Message, tag="policy.document"):
    """A policy in canonical bytes, and the mesh key's signature of them."""

    document: bytes
    signature: bytes


POLICY_KINDS: tuple[type[Message], ...] = (PolicyOffer, PolicyWanted, PolicyDocument)
"""Kinds that members say about policies; none is believed when it comes by datagram."""


# --- within a node --------------------------------------------------------------------------------

Change = Literal[
    "mesh", "owner", "override", "override-over", "pause", "resume", "quiet", "quiet-over"
]


class CharterChanged(Message, tag="fact.charter-changed"):
    """Something changed in what this node is allowed to do; it is in force already.

    ``digest`` is that of the mesh's policy, ``effective`` that of the policy in force here.
    ``record`` is what the ledger keeps of the change, canonical bytes without floats: of a policy
    its whole text, whose digest is ``effective``, so that whoever has the log can recompute scores.
    """

    what: Change
    digest: bytes
    effective: bytes
    record: bytes = b""


# --- on the control socket ------------------------------------------------------------------------


class GetPolicy(Message, tag="ask.policy"):
    """What is in force here and where it comes from; answered by Report ``qallow.policy/v1``."""


class SetPolicy(Message, tag="do.policy-set"):
    """Sign a policy for the whole mesh (canonical bytes; version 0: the next); needs its key."""

    document: bytes


class SetOwnerPolicy(Message, tag="do.policy-owner"):
    """Take the owner's own policy of this node: canonical bytes; empty: there is none any more."""

    document: bytes = b""


class ChoosePreset(Message, tag="do.policy-preset"):
    """Judge this node by another preset than the settings name; empty: by theirs again."""

    preset: str = ""


class OverridePolicy(Message, tag="do.policy-override"):
    """Do without one signal on this node for ``for_s`` seconds; 0 ends what was overridden."""

    signal: str
    for_s: float
    why: str = ""


class PauseWork(Message, tag="do.pause"):
    """Take no work and stop what runs, now; for ``for_s`` seconds, or until resumed when 0."""

    for_s: float = 0.0
    why: str = ""


class ResumeWork(Message, tag="do.resume"):
    """End a pause."""


CONTROL_POLICY_KINDS: tuple[type[Message], ...] = (
    GetPolicy, SetPolicy, SetOwnerPolicy, ChoosePreset, OverridePolicy, PauseWork, ResumeWork,
)  # fmt: skip
"""Kinds about policies that are spoken on the control socket."""
