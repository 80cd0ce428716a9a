"""Credence: what a receipt's file proves to somebody who trusts certain keys, and what it does not.

Everything that a file carries is checked, also what nobody asked for: a wrong signature by a key
that the file itself names spoils it. What is *trusted* is only what the reader brought along: a
key of the log, a policy, the id of the node (whose identity key vouches for the log's), or the id
of the mesh (whose key names the committee that certifies).
"""

from dataclasses import dataclass

from qallow_agent.base.errors import BadProof, BadSignature, Malformed
from qallow_agent.base.ids import MeshId, NodeId, key_id
from qallow_agent.ledger.certificate import certified_by
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.evidence import Evidence
from qallow_agent.ledger.leaf import Leaf
from qallow_agent.ledger.log import origin_of
from qallow_agent.ledger.manifest import check_manifest
from qallow_agent.ledger.note import verified
from qallow_agent.ledger.policy import NONE, TrustPolicy
from qallow_agent.ledger.receipt import Receipt
from qallow_agent.ledger.receiptfile import Papers, ReceiptFile, open_receipt
from qallow_agent.ledger.seats import PURPOSES, check_card
from qallow_agent.ledger.signing import NoteKey, parse_note_key


@dataclass(frozen=True, slots=True)
class Trust:
    """What a reader trusts.

    Args:
        keys: Keys of logs, any of which must have signed; none to rely on the rest.
        policy: Which logs, and how many of which witnesses.
        node: In whose log it must stand; empty for any.
        mesh: Of which mesh that node must be; empty for any.
    """

    keys: tuple[NoteKey, ...] = ()
    policy: TrustPolicy | None = None
    node: str = ""
    mesh: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file proves.

    Args:
        receipt: The receipt.
        leaf: The entry it stands in.
        index: The entry's place in the log.
        head: The head that covers it.
        mesh: Of which mesh the log says to be.
        vouched: Whether the node's identity key vouches for the key that signed the head.
        signed: Whether a key or policy that the reader brought signed the head.
        cosigned_by: Witnesses of the policy that cosigned it.
        asked: What the policy asks of witnesses; empty for nothing.
        certified_by: Members of the committee that certify it.
        members: How many the committee has; 0 without one.
        standing: What such a committee withstands, in words.
        known: Whether the reader named this node or this mesh, and what is trusted reaches it.
        strangers: Names of signatures by keys that nobody here knows.
    """

    receipt: Receipt
    leaf: Leaf
    index: int
    head: Checkpoint
    mesh: str
    vouched: bool
    signed: bool
    cosigned_by: tuple[str, ...]
    asked: str
    certified_by: tuple[NodeId, ...]
    members: int
    standing: str
    known: bool
    strangers: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        """Whether it convinces this reader that the log is the one it means."""
        return self.signed or self.known


def examine(file: ReceiptFile, trust: Trust) -> Finding:
    """Return what a file proves to somebody with some trust.

    Args:
        file: What is to be proved.
        trust: What the reader brought.

    Raises:
        BadSignature: A signature or a card is wrong, or what is trusted did not sign.
        BadProof: The head does not cover the entry, or is of another log than it should be.
        Malformed: The entry is no receipt, or the papers make no sense.
    """
    leaf, receipt = open_receipt(file.entry)
    head = Evidence(file.index, file.proof, file.head).prove(file.entry)
    mesh = _mesh_of(head, leaf, trust)
    vouched = _check_card(file, head, mesh)
    known = [*_own_keys(file.papers, head)]
    if known:
        verified(file.head, known)
    signed = _check_keys(file, head, trust)
    cosigned = _check_policy(file, trust)
    by, members, standing = _check_committee(file, mesh)
    convinced = (bool(trust.node) and vouched) or (bool(trust.mesh) and bool(by))
    known += [*trust.keys, *_keys_of(trust.policy), *_keys_of_committee(file.papers)]
    ids = {(each.name, each.key_id) for each in known}
    strange = [s.name for s in file.head.signatures if (s.name, s.key_id) not in ids]
    return Finding(
        receipt=receipt,
        leaf=leaf,
        index=file.index,
        head=head,
        mesh=mesh,
        vouched=vouched,
        signed=signed or trust.policy is not None,
        cosigned_by=cosigned,
        asked="" if trust.policy is None or trust.policy.quorum == NONE else trust.policy.quorum,
        certified_by=by,
        members=members,
        standing=standing,
        known=convinced,
        strangers=tuple(dict.fromkeys(strange)),
    )


def _mesh_of(head: Checkpoint, leaf: Leaf, trust: Trust) -> MeshId:
    """Return the mesh of the log, whose name must be that of the leaf's node."""
    mesh = MeshId(head.origin.partition("/")[2].partition("/")[0])
    if head.origin != origin_of(mesh, leaf.node):
        raise BadProof(f"the head is of the log {head.origin}, the receipt of node {leaf.node}")
    if trust.node and trust.node != leaf.node:
        raise BadProof(f"the receipt is of node {leaf.node}, not of {trust.node}")
    if trust.mesh and trust.mesh != mesh:
        raise BadProof(f"the log is of mesh {mesh}, not of {trust.mesh}")
    return mesh


def _check_card(file: ReceiptFile, head: Checkpoint, mesh: MeshId) -> bool:
    card = file.papers.card
    if card is None:
        return False
    check_card(card, mesh)
    if card.origin != head.origin:
        raise BadSignature(f"the card is of the log {card.origin}, not of {head.origin}")
    verified(file.head, (card.key,))
    return True


def _own_keys(papers: Papers, head: Checkpoint) -> tuple[NoteKey, ...]:
    keys = tuple(parse_note_key(each) for each in papers.keys)
    if any(each.name != head.origin for each in keys):
        raise Malformed("the file names keys of another log")
    return keys


def _check_keys(file: ReceiptFile, head: Checkpoint, trust: Trust) -> bool:
    if not trust.keys:
        return False
    own = [each for each in trust.keys if each.name == head.origin]
    if not own:
        raise BadSignature(
            f"the head is of the log {head.origin}, the key of {trust.keys[0].name}",
            hint="give the key of the log in which the receipt stands",
        )
    verified(file.head, own)
    return True


def _check_policy(file: ReceiptFile, trust: Trust) -> tuple[str, ...]:
    if trust.policy is None:
        return ()
    trust.policy.check(file.head)
    signers = verified(file.head, _keys_of(trust.policy))
    return tuple(name for name, each in trust.policy.witnesses.items() if each in signers)


def _check_committee(file: ReceiptFile, mesh: MeshId) -> tuple[tuple[NodeId, ...], int, str]:
    committee = file.papers.committee
    if committee is None:
        return (), 0, ""
    if key_id(committee.mesh_key) != mesh:
        raise BadSignature(f"the committee is not of mesh {mesh}")
    check_manifest(committee.manifest, mesh, committee.mesh_key)
    by = certified_by(file.head, committee.manifest)
    if not by:
        raise BadSignature("the file names a committee of which too few have cosigned")
    quorum = committee.manifest.quorum
    return by, quorum.members, quorum.standing


def _keys_of(policy: TrustPolicy | None) -> tuple[NoteKey, ...]:
    return () if policy is None else (*policy.logs, *policy.witnesses.values())


def _keys_of_committee(papers: Papers) -> tuple[NoteKey, ...]:
    committee = papers.committee
    if committee is None:
        return ()
    return tuple(
        key for purpose in PURPOSES for key in committee.manifest.cosigners(purpose).values()
    )
