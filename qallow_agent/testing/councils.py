"""Councils without the rest of their nodes: real keys and logs, letters handed over in order.

For tests of what members say to one another about logs, and for measuring what it costs.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import STORE, MeshId, NodeId
from qallow_agent.base.keys import CurveKey, NodeKeys, SigningKey, derive
from qallow_agent.base.machine import Announce, Append, Effect, Instant, Persist, Send
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.council import Council, Surroundings
from qallow_agent.ledger.kinds import Certified, CommitteeChanged, ForkDetected
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.messages import HeadSigned, LogKept
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.ledger.statement import Statement, digest_members
from qallow_agent.testing.logbook import VirtualLogbook

WALL_NS = 1_800_000_000_000_000_000


def keys_of(number: int, *, mesh: SigningKey | None = None) -> NodeKeys:
    """Return the keys of the member with a number."""
    seed = number.to_bytes(32)
    return NodeKeys(
        SigningKey(derive(seed, "identity")),
        CurveKey(derive(seed, "curve")),
        mesh,
        derive(seed, "ledger"),
    )


@dataclass(slots=True)
class Seated:
    """One member: what outlives its boots, and its present boot."""

    node: NodeId
    keys: NodeKeys
    logbook: VirtualLogbook
    council: Council
    log: Log
    kept: dict[str, bytes] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    certified: list[Certified] = field(default_factory=list)
    forks: list[ForkDetected] = field(default_factory=list)
    up: bool = True


class Councils:
    """Members that hear everything at once, until some are told to be deaf.

    Whose disk is ``full`` loses what it wants to keep, and what depends on that is not said.

    Args:
        count: How many there are; the first holds the mesh key.
        seed: Of the draws whom to tell.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        self.mesh_key = SigningKey(b"m" * 32)
        self.mesh = MeshId(self.mesh_key.id)
        self.now_s: Seconds = 0.0
        self.members: dict[NodeId, Seated] = {}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.full: set[NodeId] = set()
        self.said: list[tuple[NodeId, NodeId, Message]] = []
        self._seed = seed
        self._letters: deque[tuple[NodeId, NodeId, Message]] = deque()
        for number in range(count):
            keys = keys_of(number + 1, mesh=self.mesh_key if number == 0 else None)
            self._boot(NodeId(keys.identity.id), keys, VirtualLogbook(_no_trouble), {})

    @property
    def now(self) -> Instant:
        """The moment, on both axes."""
        return Instant(self.now_s, WALL_NS + round(self.now_s * 1e9))

    def ids(self) -> tuple[NodeId, ...]:
        """Return who is up, sorted."""
        return tuple(sorted(node for node, member in self.members.items() if member.up))

    def settle(self, seconds: Seconds = 10.0, step_s: Seconds = 0.5) -> None:
        """Let time pass, and deliver everything that is said."""
        until_s = self.now_s + seconds
        self.deliver()
        while self.now_s < until_s:
            self.now_s += step_s
            self.tick()

    def tick(self) -> None:
        """Let every member do what is due now, and deliver what that leads to."""
        for node in self.ids():
            member = self.members[node]
            for machine in (member.log, member.council):
                deadline_s = machine.next_deadline()
                if deadline_s is not None and deadline_s <= self.now_s:
                    self.do(node, machine.tick(self.now))
        self.deliver()

    def write(self, node: NodeId, body: bytes) -> None:
        """Let a member log something."""
        self.do(node, self.members[node].log.write(LeafKind.OVERRIDE, body, self.now))

    def restart(self, node: NodeId, kept: dict[str, bytes] | None = None) -> None:
        """Boot a member again, from what it kept or from a backup of that."""
        member = self.members[node]
        self._boot(node, member.keys, member.logbook, member.kept if kept is None else kept)

    def say(self, sender: NodeId, letters: Sequence[Send]) -> None:
        """Let a member say what its council did not decide."""
        self._letters += [(sender, letter.to, letter.message) for letter in letters]
        self.deliver()

    def deliver(self) -> None:
        """Hand over every letter, and those they lead to."""
        while self._letters:
            sender, to, message = self._letters.popleft()
            if to not in self.members or not self.members[to].up or (sender, to) in self.cut:
                continue
            self.said.append((sender, to, message))
            self.do(to, self.members[to].council.receive(sender, message, self.now))

    def do(self, node: NodeId, effects: Sequence[Effect]) -> None:
        """Carry out effects of a member."""
        member, lost = self.members[node], False
        for effect in effects:
            match effect:
                case Persist() if node in self.full:
                    lost = True
                case Send() if lost:
                    pass
                case Send():
                    self._letters.append((node, effect.to, effect.message))
                case Persist(data=None):
                    member.kept.pop(effect.name, None)
                case Persist(data=data):
                    member.kept[effect.name] = data or b""
                case Append():
                    member.logbook.append(effect.first, effect.entries, effect.head)
                    kept = LogKept(effect.first + len(effect.entries), effect.head)
                    self.do(node, member.log.receive(STORE, kept, self.now))
                case Announce():
                    self._announce(node, effect.message)
                case Notice():
                    member.notices.append(effect)

    def _announce(self, node: NodeId, fact: Message) -> None:
        member = self.members[node]
        if isinstance(fact, Certified):
            member.certified.append(fact)
        elif isinstance(fact, ForkDetected):
            member.forks.append(fact)
        elif isinstance(fact, HeadSigned | CommitteeChanged):
            self.do(node, member.council.receive(node, fact, self.now))

    def _boot(
        self, node: NodeId, keys: NodeKeys, logbook: VirtualLogbook, kept: dict[str, bytes]
    ) -> None:
        log = Log(
            node=node,
            mesh=self.mesh,
            seed=keys.ledger,
            settings=LedgerSettings(),
            past=logbook.open(),
            read=logbook.read,
            clock=HybridClock(),
            bound=lambda _: 0.001,
        )
        around = Surroundings(
            members=self.ids,
            workers=self.ids,
            enrolled=lambda each: each in self.members,
            state=self._state,
            recompute=lambda _, stated: (
                "" if stated.members_digest == digest_members(self.ids()) else "other members"
            ),
        )
        council = Council(
            me=node,
            mesh=self.mesh,
            mesh_key=self.mesh_key.public,
            keys=keys,
            log=log,
            around=around,
            rng=Random(f"{self._seed}/{node}"),
            kept=kept,
        )
        self.members[node] = Seated(node, keys, logbook, council, log, kept)

    def _state(self, now: Instant) -> Statement:
        members = self.ids()
        count, time_us = len(members), now.wall_ns // 1_000
        digest = digest_members(members)
        return Statement(0, 0, count, count, count, count, bytes(32), digest, time_us, time_us)


def _no_trouble() -> None:
    """The disk is well."""
