"""What we say of ourselves: our incarnation, and how we answer claims that we are gone."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import ConfigError, StorageCorrupt
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Effect, Lane, Persist, Send
from qallow_agent.base.notice import Notice
from qallow_agent.mesh.membership.awareness import Awareness
from qallow_agent.mesh.membership.gossip import GossipQueue
from qallow_agent.mesh.membership.herald import tell
from qallow_agent.mesh.membership.state import plausible, successor
from qallow_agent.mesh.membership.table import MemberTable
from qallow_agent.mesh.wire.kinds import Gossip, Incarnation, MemberRecord, MemberState

INCARNATION_FILE = "membership/incarnation"
"""Where an epoch beyond our boot epoch is kept, so that a restored disk image never goes back."""


def first_record(me: MemberRecord, kept: Mapping[str, bytes]) -> MemberRecord:
    """Return our first record: one that others will hear, above every one we claimed before.

    Args:
        me: Our record as of this boot.
        kept: Bytes persisted under this room's names.

    Raises:
        ConfigError: Our name or addresses exceed what others accept.
        StorageCorrupt: The kept incarnation does not decode.
    """
    if not plausible(me):
        raise ConfigError(
            f"the name {me.name!r} and {len(me.contact.hosts)} addresses are too much to announce",
            hint="use a name of at most 64 characters and advertise fewer addresses",
        )
    data = kept.get(INCARNATION_FILE)
    if data is None:
        return me
    try:
        known = msgspec.msgpack.decode(data, type=Incarnation)
    except msgspec.DecodeError as error:
        raise StorageCorrupt(
            f"{INCARNATION_FILE} does not decode: {error}",
            hint="remove that file; the mesh will tell us our incarnation",
        ) from error
    if known < me.incarnation:
        return me
    return replace(me, incarnation=successor(known))


_MAX_CLONES = 16
"""Clones that are named; a mesh with more has another problem."""


class Oneself:
    """Our own record and its defence.

    Args:
        table: Holds our record.
        queue: Where our word goes to be told.
        health: Suffers when others had reason to suspect us.
    """

    def __init__(self, table: MemberTable, queue: GossipQueue, health: Awareness) -> None:
        self._table = table
        self._queue = queue
        self._health = health
        self._clones: set[Contact] = set()
        self.left = False

    def hear(self, claim: MemberRecord, teller: NodeId) -> list[Effect]:
        """Answer a claim about ourselves: outbid what is wrong, correct what is old.

        Source: SWIM (2002), section 4.2: only a member raises its own incarnation, to refute.
        """
        me = self._table.me
        if self.left or not plausible(claim):
            return []
        wrong = claim.state is not MemberState.ALIVE
        if claim.incarnation < me.incarnation:
            return [Send(teller, Gossip((me,)), Lane.DATAGRAM)] if wrong else []
        foreign = (claim.contact, claim.curve_key) != (me.contact, me.curve_key)
        if not wrong and not foreign and claim.incarnation == me.incarnation:
            return []
        if wrong:
            self._health.note(+1)
        effects = self._raise(claim, teller)
        if foreign and not wrong and claim.incarnation.epoch == me.incarnation.epoch:
            effects += self._name_clone(me, claim)
        return effects

    def leave(self, others: tuple[NodeId, ...]) -> list[Effect]:
        """Say farewell to everybody at once; nothing refutes it."""
        self.left = True
        me = replace(self._table.me, state=MemberState.LEFT)
        self._table.put(me)
        self._queue.offer(me)
        return [effect for node in others for effect in tell(node, me)]

    def set_advert(self, version: int) -> None:
        """Let the mesh know that we have a new advert."""
        me = self._table.me
        if version != me.advert:
            self._table.put(replace(me, advert=version))
            self._queue.offer(self._table.me)

    def _raise(self, claim: MemberRecord, teller: NodeId) -> list[Effect]:
        before = self._table.me.incarnation
        raised = successor(max(claim.incarnation, before))
        me = replace(self._table.me, incarnation=raised)
        self._table.put(me)
        self._queue.offer(me)
        listeners = [teller, *(node for node in claim.accusers[:4] if node != teller)]
        effects: list[Effect] = [
            Notice(
                "member.refuted",
                "we answered a claim about ourselves that is not so",
                facts={
                    "claim": claim.state.value,
                    "teller": teller,
                    "incarnation": f"{raised.epoch}.{raised.counter}",
                },
            ),
        ]
        for node in listeners:
            if self._table.is_linked(node):
                effects += tell(node, me)
        if raised.epoch > before.epoch:
            effects.append(Persist(INCARNATION_FILE, msgspec.msgpack.encode(raised)))
        return effects

    def _name_clone(self, me: MemberRecord, claim: MemberRecord) -> list[Effect]:
        if claim.contact in self._clones or len(self._clones) >= _MAX_CLONES:
            return []
        self._clones.add(claim.contact)
        return [
            Notice(
                "membership.clone",
                "another process uses our identity; give one of the two a new one",
                "error",
                {
                    "ours": " ".join(me.contact.addresses(me.contact.stream)),
                    "theirs": " ".join(claim.contact.addresses(claim.contact.stream)),
                },
            )
        ]
