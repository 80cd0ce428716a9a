"""Forks: logs that showed two histories, found where two witnesses compare what they saw.

Two signed heads of one size with two roots are proof for anybody, for ever. Of two heads of
different sizes only the log itself can show that they go together, so it is asked; its own failed
proof is proof for whoever asked. An answer that never comes is none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from qallow_agent.base.errors import BadProof, BadSignature, StorageCorrupt, WireError
from qallow_agent.base.ids import Entropy, MeshId, NodeId
from qallow_agent.base.machine import Announce, Effect, Instant, Persist, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.certificate import open_head
from qallow_agent.ledger.kinds import (
    ForkDetected,
    ForkFound,
    HeadsTold,
    ProofGiven,
    ProofWanted,
)
from qallow_agent.ledger.memory import Memory
from qallow_agent.ledger.proofs import verify_consistency
from qallow_agent.ledger.quorum import Mark, contradict
from qallow_agent.ledger.seats import Card, check_card

FOLDER = "coherence/forks/"
TELL_S: Seconds = 5.0
"""How often one more member is told which heads were seen, until all were told the newest: any two
witnesses compare, and an idle mesh says nothing."""
ANSWER_S: Seconds = 10.0
TELLING_LIMIT = 64
"""Heads a message: each is below 1 KiB with its card, so a message stays below its 64 KiB."""


class Fork(msgspec.Struct, frozen=True):
    """What proves a fork: two heads by one log, and how they contradict."""

    card: Card
    one: bytes
    other: bytes
    why: str


@dataclass(frozen=True, slots=True)
class _Question:
    """What a log was asked to prove, and until when the answer counts."""

    card: Card
    one: bytes
    other: bytes
    until_s: Seconds


class Forks:
    """The logs that are known to have forked, and how more of them are found.

    Args:
        me: Whose book this is.
        mesh: Of which mesh.
        memory: What the witness has seen.
        members: The others that are up.
        rng: Draws whom to tell.
        kept: What was kept under ``coherence/``.

    Raises:
        StorageCorrupt: A file does not decode; names it.
    """

    def __init__(
        self,
        *,
        me: NodeId,
        mesh: MeshId,
        memory: Memory,
        members: Callable[[], tuple[NodeId, ...]],
        rng: Entropy,
        kept: Mapping[str, bytes],
    ) -> None:
        self._me = me
        self._mesh = mesh
        self._memory = memory
        self._members = members
        self._rng = rng
        self._found = _decode(kept)
        self._asked: dict[NodeId, _Question] = {}
        self._tell_s: Seconds | None = None
        self._told: set[NodeId] = set()

    def forked(self, node: NodeId) -> bool:
        """Return whether a node's log showed two histories."""
        return node in self._found

    def all(self) -> tuple[Fork, ...]:
        """Return every fork that is known, by node."""
        return tuple(self._found[node] for node in sorted(self._found))

    # --- what others tell -------------------------------------------------------------------------

    def told(self, message: HeadsTold, now: Instant) -> list[Effect]:
        """Compare heads that another member saw with those seen here.

        Raises:
            WireError: One of them is forged.
        """
        effects: list[Effect] = []
        for each in message.heads[:TELLING_LIMIT]:
            ours = self._memory.newest(each.card.node)
            if ours is None or each.card.node == self._me or ours.note == each.note:
                continue
            if each.card != ours.card:
                check_card(each.card, self._mesh)
            effects += self.compare(each.card, ours.note, each.note, now)
        return effects

    def evidence(self, found: ForkFound, now: Instant) -> list[Effect]:
        """Judge two heads that somebody calls a fork.

        Raises:
            WireError: One of them is forged.
        """
        check_card(found.card, self._mesh)
        return self.compare(found.card, found.one, found.other, now)

    def compare(self, card: Card, one: bytes, other: bytes, now: Instant) -> list[Effect]:
        """Return what to do about two heads of a log: nothing, ask it, or call it forked.

        Raises:
            WireError: One of them is not signed by the log.
        """
        node = card.node
        if node in self._found or node == self._me:
            return []
        first, second = open_head(one, card).mark, open_head(other, card).mark
        if contradict(first, second):
            why = f"two heads of {first.size} entries"
            return self._convict(Fork(card, one, other, why))
        asked = self._asked.get(node)
        if first.size == second.size or (asked and now.mono_s <= asked.until_s):
            return []
        if first.size > second.size:
            one, other, first, second = other, one, second, first
        self._asked[node] = _Question(card, one, other, now.mono_s + ANSWER_S)
        return [Send(node, ProofWanted(first.size, second.size))]

    def answered(self, sender: NodeId, given: ProofGiven, now: Instant) -> list[Effect]:
        """Judge the proof by which a log shows that two of its heads go together."""
        question = self._asked.get(sender)
        if question is None or now.mono_s > question.until_s:
            return []
        first = open_head(question.one, question.card).mark
        second = open_head(question.other, question.card).mark
        if (first.size, second.size) != (given.old, given.new):
            return []
        del self._asked[sender]
        if _joins(first, second, given.proof):
            return []
        return self.broken(question.card, question.one, question.other)

    def broken(self, card: Card, one: bytes, other: bytes) -> list[Effect]:
        """Take in that a log itself failed to show that one of its heads continues another."""
        if card.node in self._found or card.node == self._me:
            return []
        first, second = open_head(one, card).mark, open_head(other, card).mark
        why = f"its head of {second.size} entries does not continue that of {first.size}"
        return self._convict(Fork(card, one, other, why))

    def _convict(self, fork: Fork) -> list[Effect]:
        node = fork.card.node
        self._found[node] = fork
        found = ForkFound(fork.card, fork.one, fork.other)
        others = (each for each in self._members() if each not in {self._me, node})
        return [
            Persist(FOLDER + node, msgspec.msgpack.encode(fork)),
            Notice(
                "ledger.fork",
                "a log showed two histories",
                "error",
                {"node": node, "why": fork.why},
            ),
            Announce(ForkDetected(node, fork.card.origin, fork.why)),
            *(Send(each, found) for each in others),
        ]

    # --- telling ----------------------------------------------------------------------------------

    def news(self, now: Instant) -> None:
        """Note that a head was seen that others may know otherwise."""
        self._told.clear()
        if self._tell_s is None:
            self._tell_s = now.mono_s + TELL_S

    def greet(self, node: NodeId) -> list[Effect]:
        """Tell a member that came up of every fork that is known."""
        return [
            Send(node, ForkFound(fork.card, fork.one, fork.other))
            for fork in self.all()
            if node not in {self._me, fork.card.node}
        ]

    def tick(self, now: Instant) -> list[Effect]:
        """Tell one more member, drawn at random, which heads were seen; forget who is silent."""
        self._asked = {
            node: each for node, each in self._asked.items() if each.until_s > now.mono_s
        }
        if self._tell_s is None or now.mono_s < self._tell_s:
            return []
        others = [node for node in self._members() if node != self._me]
        waiting = [node for node in others if node not in self._told]
        heads = self._memory.heads()
        if not waiting or not heads:
            self._tell_s = None
            return []
        chosen = waiting[self._rng.randrange(len(waiting))]
        self._told.add(chosen)
        self._tell_s = now.mono_s + TELL_S
        batches = range(0, len(heads), TELLING_LIMIT)
        return [Send(chosen, HeadsTold(heads[at : at + TELLING_LIMIT])) for at in batches]

    def next_deadline(self) -> Seconds | None:
        """Return when there is somebody to tell; None while nothing is new."""
        return self._tell_s


def _joins(first: Mark, second: Mark, proof: tuple[bytes, ...]) -> bool:
    try:
        verify_consistency(first.size, second.size, proof, first.root, second.root)
    except BadProof:
        return False
    return True


def _decode(kept: Mapping[str, bytes]) -> dict[NodeId, Fork]:
    found: dict[NodeId, Fork] = {}
    for name in sorted(kept):
        if not name.startswith(FOLDER):
            continue
        try:
            fork = msgspec.msgpack.decode(kept[name], type=Fork)
            if FOLDER + fork.card.node != name:
                raise BadSignature("it holds the fork of another node")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, WireError) as error:
            raise StorageCorrupt(
                f"{name} does not decode: {error}",
                hint="delete it; other members tell of the fork again",
            ) from error
        found[fork.card.node] = fork
    return found
