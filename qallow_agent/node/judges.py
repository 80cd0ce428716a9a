"""Judges: shows this node's decisions to validators, and judges those of others for them."""

import struct

import msgspec

from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Effect, Instant
from qallow_agent.ethics.evidence import Evidence, decode, digest, encode
from qallow_agent.ethics.policy import Policy, policy_digest
from qallow_agent.ethics.records import EVIDENCE_BYTES, DecisionRecord, unpack_all
from qallow_agent.ethics.validator import FRESH_MS, Claim, Observations, revalidate
from qallow_agent.ledger.kinds import Blob, DecisionBatch
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.validation import MAX_BATCH_BYTES, Complaint
from qallow_agent.node.rooms import Rooms, Self

_START = struct.Struct(">Q")
_POLICY = msgspec.msgpack.Decoder(Policy)

STALE_MS = FRESH_MS // 2
"""Evidence older than this is not shown: it would be too old before it is judged."""

Shown = tuple[Evidence, Policy]
"""A decision's evidence, and the policy that it was judged by."""


class Judges:
    """Takes part in validation, for the hallway.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms
        rooms.validation.recheck = self.recheck

    # --- our decisions ----------------------------------------------------------------------------

    def show(self, index: int, decided: tuple[Shown, ...], now: Instant) -> list[Effect]:
        """Ask the validators of the first job in a leaf about its decisions.

        As many decisions go along with their evidence as a message holds; all in almost every
        leaf, since one is written at least every second.
        """
        leaf = self._rooms.ledger.entry(index)
        room = MAX_BATCH_BYTES - len(leaf)
        blobs: dict[bytes, bytes] = {}
        oldest_ms = now.wall_ns // 1_000_000 - STALE_MS
        for evidence, policy in decided:
            if evidence.at_ms < oldest_ms:
                continue
            added = {
                policy_digest(policy): msgspec.msgpack.encode(policy),
                digest(evidence): encode(evidence),
            }
            fresh = {key: data for key, data in added.items() if key not in blobs}
            room -= sum(len(key) + len(data) for key, data in fresh.items())
            if room < 0:
                break
            blobs |= fresh
        if not blobs:
            return []
        job = next((each.job for each, _ in decided if each.job), decided[0][0].device)
        shown = tuple(Blob(key, blobs[key]) for key in blobs)
        return self._rooms.validation.submit(job, index, leaf, shown, now)

    # --- decisions of others ----------------------------------------------------------------------

    def recheck(self, author: NodeId, batch: DecisionBatch, now: Instant) -> Complaint | None:
        """Return the first thing that is wrong with a peer's decisions; None when nothing is.

        The policy that they were judged by comes along, since an owner's is its own: what is
        judged is whether the decisions follow from it and whether the evidence can be.

        Raises:
            WireError: The batch is none.
        """
        leaf = parse_leaf(batch.leaf)
        if leaf.kind is not LeafKind.DECISIONS or leaf.node != author:
            raise WireError(f"{author} shows a leaf that holds no decisions of its own")
        if len(leaf.body) < _START.size:
            raise WireError(f"{author} shows a leaf of decisions without a beginning")
        (start_ms,) = _START.unpack_from(leaf.body)
        records = {each.evidence: each for each in unpack_all(leaf.body[_START.size :])}
        policies, evidences = _open(batch)
        if not policies:
            return Complaint("h3", "no policy is shown")
        for evidence in evidences:
            record = records.get(digest(evidence)[:EVIDENCE_BYTES])
            if record is None or evidence.node != author:
                return Complaint("", "evidence is shown that no decision names")
            found = self._wrong(author, evidence, record, start_ms, policies, now)
            if found is not None:
                return found
        return None

    def _wrong(
        self,
        author: NodeId,
        evidence: Evidence,
        record: DecisionRecord,
        start_ms: int,
        policies: tuple[Policy, ...],
        now: Instant,
    ) -> Complaint | None:
        """Return what is wrong by the policy that fits best."""
        seen = self._observations(author, now)
        best: Complaint | None = None
        for policy in policies:
            claim = Claim(evidence, record, start_ms, policy_digest(policy))
            findings = revalidate(claim, policy, seen)
            if not findings:
                return None
            best = best or Complaint(findings[0].signal, findings[0].why)
        return best

    def _observations(self, author: NodeId, now: Instant) -> Observations:
        rooms = self._rooms
        clock, error_s = rooms.sync.peer_offset(author), rooms.sync.wall_error_s(now)
        known = clock is not None and error_s != float("inf")
        return Observations(
            now_ms=now.wall_ns // 1_000_000,
            offset_us=round(clock.offset_s * 1e6) if clock and known else None,
            bound_us=round(clock.bound_s * 1e6) if clock and known else 0,
            own_us=round(error_s * 1e6) if known else 0,
            forked=rooms.council.forks.forked(author),
            heard=False,  # who just joined may have judged a device before it met anybody
        )


def _open(batch: DecisionBatch) -> tuple[tuple[Policy, ...], tuple[Evidence, ...]]:
    """Return the policies and the evidence that a batch shows.

    Raises:
        WireError: A blob is neither, or not what its digest says.
    """
    policies: list[Policy] = []
    evidences: list[Evidence] = []
    for blob in batch.evidence:
        try:
            policy = _POLICY.decode(blob.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            evidence = decode(blob.data)
            if digest(evidence) != blob.digest:
                raise WireError("evidence does not have the digest it is shown under") from None
            evidences.append(evidence)
            continue
        if policy_digest(policy) != blob.digest:
            raise WireError("a policy does not have the digest it is shown under")
        policies.append(policy)
    return tuple(policies), tuple(evidences)
