"""What the rest of the node, and a suspect itself, is told when a belief changes."""

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Announce, Effect, Lane, Send
from qallow_agent.base.notice import Level, Notice
from qallow_agent.mesh.membership.state import UP
from qallow_agent.mesh.membership.table import MemberTable
from qallow_agent.mesh.wire.facts import MemberDown, MemberHeardOf, MemberSuspect, MemberUp
from qallow_agent.mesh.wire.kinds import Gossip, MemberRecord, MemberState

_Face = tuple[int, bytes, Contact]
"""What other rooms know of a member that is up: its epoch, key and address."""


class Herald:
    """Remembers what was announced of each member, so that every fact is told once.

    Args:
        table: The members.
    """

    def __init__(self, table: MemberTable) -> None:
        self._table = table
        self._up: dict[NodeId, _Face] = {}
        self._asked: dict[NodeId, tuple[bytes, Contact]] = {}

    def is_up(self, node: NodeId) -> bool:
        """Return whether the other rooms were told that a member is up."""
        return node in self._up

    def forget(self, node: NodeId) -> None:
        """Drop all about a member."""
        self._up.pop(node, None)
        self._asked.pop(node, None)

    def announce(self, held: MemberRecord | None, record: MemberRecord) -> list[Effect]:
        """Return what to tell after the belief about a member went from ``held`` to ``record``."""
        if record.state not in UP:
            return self._down(held, record)
        effects = self._restart(record)
        node, door = record.node, (record.curve_key, record.contact)
        if not self._table.met_at(record) and self._asked.get(node) != door:
            self._asked[node] = door
            effects.append(Announce(MemberHeardOf(node, record.contact, record.curve_key)))
        if self._table.is_linked(node) and self._up.get(node) != _face(record):
            if node not in self._up:
                effects.append(_notice("member.up", "a member is up", record))
            self._up[node] = _face(record)
            effects.append(Announce(MemberUp(record)))
        if record.state is MemberState.SUSPECT and not same_suspicion(held, record):
            effects += self._suspect(record)
        return effects

    def _suspect(self, record: MemberRecord) -> list[Effect]:
        effects: list[Effect] = [
            _notice("member.suspect", "a member does not answer", record, "warning")
        ]
        if record.node in self._up:
            effects.append(Announce(MemberSuspect(record.node, record.accusers)))
        if self._table.is_linked(record.node):
            effects += tell(record.node, record)
        return effects

    def _restart(self, record: MemberRecord) -> list[Effect]:
        """Say that what a member was doing is lost when it comes back as another process.

        So it is when its door proves another key than its record names: we cannot reach it until
        the two agree again.
        """
        known = self._up.get(record.node)
        same = known is not None and known[:2] == _face(record)[:2]
        if known is None or (same and self._table.is_linked(record.node)):
            return []
        del self._up[record.node]
        return [
            _notice("member.restarted", "a member started anew; what it did is lost", record),
            Announce(MemberDown(record.node, left=False)),
        ]

    def _down(self, held: MemberRecord | None, record: MemberRecord) -> list[Effect]:
        left = record.state is MemberState.LEFT
        was_up = self._up.pop(record.node, None) is not None
        forgiven = left and held is not None and held.state is MemberState.DEAD
        if not was_up and not forgiven:
            return []
        event, text = ("member.left", "a member left") if left else ("member.dead", "a member died")
        return [
            _notice(event, text, record, "info" if left else "warning"),
            Announce(MemberDown(record.node, left=left)),
        ]


def same_suspicion(held: MemberRecord | None, record: MemberRecord) -> bool:
    """Return whether a member was already suspected at this incarnation."""
    return (
        held is not None
        and held.state is MemberState.SUSPECT
        and held.incarnation == record.incarnation
    )


def tell(node: NodeId, record: MemberRecord) -> list[Effect]:
    """Tell one member one belief on both lanes: the datagram is fast, the link is sure."""
    gossip = Gossip((record,))
    return [Send(node, gossip, Lane.DATAGRAM), Send(node, gossip, Lane.STREAM)]


def _face(record: MemberRecord) -> _Face:
    return (record.incarnation.epoch, record.curve_key, record.contact)


def _notice(event: str, text: str, record: MemberRecord, level: Level = "info") -> Notice:
    incarnation = record.incarnation
    return Notice(
        event,
        text,
        level,
        {
            "node": record.node,
            "name": record.name,
            "incarnation": f"{incarnation.epoch}.{incarnation.counter}",
            "accusers": " ".join(record.accusers),
        },
    )
