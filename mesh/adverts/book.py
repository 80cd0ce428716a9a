"""The advert book: what every live node can do, each entry in that node's own signed word.

Rules: an advert is believed for its ``ttl_s`` from *receipt* (clocks may differ); a higher
(epoch, version) replaces a lower one; an edition that expired here is believed again only from
its owner, or gossip would keep the dead alive; only live members with a known key count.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from qallow_agent.base.errors import InvariantBroken, PeerError
from qallow_agent.base.ids import Entropy, NodeId, Sender, is_local, key_id
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant, Send, soonest
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.reading import Reading
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.adverts.advert import judge_advert, sign_advert, thinner
from qallow_agent.mesh.adverts.hysteresis import what_changed
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.adverts.shelf import Entry, Shelf, batches
from qallow_agent.mesh.wire.facts import AdvertChanged, MemberDown, MemberMet, MemberUp
from qallow_agent.mesh.wire.kinds import Advert, AdvertDigest, Adverts, DeviceAdvert, KernelAdvert

BATCH_ADVERTS = 64
"""Adverts taken from or put into one message; the digest's next round brings the rest."""
NOTICE_PERIOD_S = 10.0
"""Refusals are noticed at most this often: a hostile peer must not flood the log."""


class AdvertBook:
    """Holds live adverts, publishes our own and spreads both; a Machine.

    Args:
        me: Our node id.
        identity: Our node key; signs our adverts.
        epoch: Boot epoch: adverts of this life replace those of earlier ones.
        release: Version of this build, as told to others.
        settings: Periods and caps.
        rng: Chooses peers to tell.
    """

    def __init__(
        self,
        *,
        me: NodeId,
        identity: SigningKey,
        epoch: int,
        release: str,
        settings: AdvertSettings,
        rng: Entropy,
    ) -> None:
        self.me = me
        self.epoch = epoch
        self.release = release
        self.settings = settings
        self.refused: Counter[str] = Counter()
        self._identity = identity
        self._rng = rng
        self._keys: dict[NodeId, bytes] = {}
        self._alive: dict[NodeId, None] = {}
        self._told_s: dict[NodeId, Seconds] = {}
        self._shelf = Shelf(settings.max_nodes)
        self._version = 0
        self._issued_s: Seconds | None = None
        self._pending: Advert | None = None
        self._told: Advert | None = None
        """What we meant to say last; what went out may be thinner."""
        self._digest_due_s: Seconds | None = None
        self._noticed_s: Seconds | None = None

    @property
    def version(self) -> int:
        """The version of our newest advert; 0 before the first."""
        return self._version

    def snapshot(self) -> Mapping[NodeId, Advert]:
        """Return an immutable view of all live adverts by node id in order.

        Ours is what we can do this moment, also where that waits to be told.
        """
        view = self._shelf.snapshot()
        if self._pending is None:
            return view
        return MappingProxyType({**view, self.me: self._pending})

    def learn_key(self, node: NodeId, node_key: bytes) -> None:
        """Remember the identity key behind a node id; a key that does not give it is ignored.

        When the table is full, a node that is not alive makes room.
        """
        if node == self.me or node in self._keys or key_id(node_key) != node:
            return
        if len(self._keys) >= self.settings.max_nodes:
            gone = next((known for known in self._keys if known not in self._alive), None)
            if gone is None:
                self.refused["key-table-full"] += 1
                return
            del self._keys[gone]
            self._shelf.forget(gone)
        self._keys[node] = node_key

    def publish(
        self,
        devices: tuple[DeviceAdvert, ...],
        kernels: tuple[KernelAdvert, ...],
        readings: Mapping[str, Reading],
        now: Instant,
    ) -> list[Effect]:
        """Say what we can do now, if it matters: something changed, or half the lifetime passed.

        Call it with every sample. Changes within ``min_interval_s`` of the last advert wait for
        the tick that ends it; only the newest of them is told.
        """
        candidate = Advert(
            node=self.me,
            epoch=self.epoch,
            version=self._version + 1,
            issued_ms=now.wall_ns // 1_000_000,
            ttl_s=self.settings.ttl_s,
            devices=devices,
            kernels=kernels,
            readings=dict(readings),
            release=self.release,
        )
        if self._told is None or self._issued_s is None or self._shelf.get(self.me) is None:
            return self._issue(candidate, now)
        self._pending = None
        age_s = now.mono_s - self._issued_s
        if age_s < self.settings.ttl_s / 2:
            if not what_changed(self._told, candidate, self.settings):
                return []
            if age_s < self.settings.min_interval_s:
                self._pending = candidate
                return []
        return self._issue(candidate, now)

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in adverts and digests of peers, and facts about members."""
        if is_local(sender) or sender == self.me:
            return self._learn(message, now)
        if isinstance(message, Adverts):
            return self._take(NodeId(sender), message, now)
        if isinstance(message, AdvertDigest):
            return self._fill(NodeId(sender), message, now)
        return []

    def tick(self, now: Instant) -> list[Effect]:
        """Drop what expired, issue what waited, and compare books with one random peer."""
        effects: list[Effect] = [
            Announce(AdvertChanged(node=node)) for node in self._shelf.expire(now.mono_s)
        ]
        waited_s = self._pending_due_s()
        if self._pending is not None and waited_s is not None and waited_s <= now.mono_s:
            effects += self._issue(self._pending, now)
        if self._digest_due_s is not None and self._digest_due_s <= now.mono_s:
            self._digest_due_s = now.mono_s + _pause_s(self.settings, self._rng)
            effects += [self._tell(peer, now) for peer in _draw(self._alive, 1, self._rng)]
        return effects

    def next_deadline(self) -> Seconds | None:
        """Return when something expires, a waiting advert may go out or a digest is due."""
        return soonest(self._shelf.next_expiry_s(), self._pending_due_s(), self._digest_due_s)

    def check(self) -> None:
        """Raise InvariantBroken when the book holds what its rules forbid."""
        view = self._shelf.snapshot()
        for node, advert in view.items():
            if node != advert.node or not (node == self.me or node in self._alive):
                raise InvariantBroken(f"the book holds an advert of {node}, which is not live")
        if len(view) > self.settings.max_nodes or len(self._keys) > self.settings.max_nodes:
            raise InvariantBroken("the advert book exceeds its cap")

    # --- our own ---------------------------------------------------------------------------------

    def _issue(self, candidate: Advert, now: Instant) -> list[Effect]:
        self._pending = None
        refused = ""
        for edition in thinner(candidate):
            advert = sign_advert(edition, self._identity)
            try:
                size_bytes = judge_advert(
                    advert, self._identity.public, self.settings.max_advert_bytes
                )
                break
            except PeerError as error:
                refused = str(error)
        else:
            # What every peer would refuse is not sent; a node without an advert is only idle.
            return self._complain(
                "advert.unfit", "our own advert breaks the caps", now, refused, self.me
            )
        self._told = candidate
        self._version = advert.version
        self._issued_s = now.mono_s
        self._shelf.put(Entry(advert, now.mono_s + advert.ttl_s, size_bytes))
        message = Adverts(adverts=(advert,))
        peers = _draw(self._alive, self.settings.push_peers, self._rng)
        pushes = [Send(peer, message) for peer in peers]
        return [Announce(AdvertChanged(node=self.me)), *pushes]

    def _pending_due_s(self) -> Seconds | None:
        if self._pending is None or self._issued_s is None:
            return None
        return self._issued_s + self.settings.min_interval_s

    # --- facts about members ---------------------------------------------------------------------

    def _learn(self, message: Message, now: Instant) -> list[Effect]:
        if isinstance(message, MemberMet):
            certificate = message.credential.certificate
            self.learn_key(certificate.node, certificate.node_key)
        elif isinstance(message, MemberUp) and message.record.node != self.me:
            return self._welcome(message.record.node, now)
        elif isinstance(message, MemberDown) and message.node != self.me:
            self._alive.pop(message.node, None)
            self._told_s.pop(message.node, None)
            if not self._alive:
                self._digest_due_s = None
            if self._shelf.drop(message.node):
                return [Announce(AdvertChanged(node=message.node))]
        return []

    def _welcome(self, node: NodeId, now: Instant) -> list[Effect]:
        self._alive[node] = None
        if self._digest_due_s is None:
            self._digest_due_s = now.mono_s + _pause_s(self.settings, self._rng)
        own = self._shelf.get(self.me)
        push: list[Effect] = [Send(node, Adverts(adverts=(own.advert,)))] if own else []
        return [*push, self._tell(node, now)]

    # --- others' adverts -------------------------------------------------------------------------

    def _take(self, sender: NodeId, message: Adverts, now: Instant) -> list[Effect]:
        fresh: list[Advert] = []
        complaints: list[Effect] = []
        for advert in message.adverts[:BATCH_ADVERTS]:
            if not self._wanted(sender, advert):
                continue
            node_key = self._keys.get(advert.node)
            if node_key is None:
                self.refused["unknown-key"] += 1
                continue
            try:
                size_bytes = judge_advert(advert, node_key, self.settings.max_advert_bytes)
            except PeerError as error:
                self.refused[error.code] += 1
                complaints += self._complain(
                    "advert.refused", "a peer's advert was refused", now, str(error), sender
                )
                continue
            self._shelf.put(Entry(advert, now.mono_s + advert.ttl_s, size_bytes))
            fresh.append(advert)
        changed = [Announce(AdvertChanged(node=advert.node)) for advert in fresh]
        return [*complaints, *changed, *self._forward(sender, fresh)]

    def _wanted(self, sender: NodeId, advert: Advert) -> bool:
        node = advert.node
        if node == self.me or node not in self._alive or not self._shelf.has_room(node):
            return False
        edition, seen = (advert.epoch, advert.version), self._shelf.seen(node)
        returns = edition == seen and sender == node and self._shelf.get(node) is None
        return edition > seen or returns

    def _forward(self, sender: NodeId, fresh: list[Advert]) -> list[Effect]:
        if len(self._alive) <= self.settings.push_peers:
            return []
        effects: list[Effect] = []
        for advert in fresh:
            others = [node for node in self._alive if node not in (sender, advert.node)]
            peers = _draw(others, self.settings.forward_peers, self._rng)
            effects += [Send(peer, Adverts(adverts=(advert,))) for peer in peers]
        return effects

    def _fill(self, sender: NodeId, digest: AdvertDigest, now: Instant) -> list[Effect]:
        if sender not in self._alive or len(digest.held) > self.settings.max_nodes:
            self.refused["digest"] += 1
            return []
        gaps = [entry for entry in self._shelf.newer_than(digest.held) if _not_of(sender, entry)]
        effects: list[Effect] = [
            Send(sender, Adverts(adverts=batch)) for batch in batches(gaps[:BATCH_ADVERTS])
        ]
        # Who was told lately what we hold knows what we lack; telling again, two books could
        # exchange digests for ever while the adverts between them are lost.
        told_s = self._told_s.get(sender)
        told_lately = told_s is not None and now.mono_s - told_s < self.settings.digest_period_s / 2
        if not told_lately and any(self._lacks(*item) for item in digest.held.items()):
            effects.append(self._tell(sender, now))
        return effects

    def _lacks(self, node: NodeId, edition: tuple[int, int]) -> bool:
        return (
            node != self.me
            and node in self._alive
            and node in self._keys
            and edition > self._shelf.seen(node)
        )

    # --- telling ---------------------------------------------------------------------------------

    def _tell(self, peer: NodeId, now: Instant) -> Send:
        self._told_s[peer] = now.mono_s
        return Send(peer, AdvertDigest(held=self._shelf.editions()))

    def _complain(
        self, event: str, text: str, now: Instant, why: str, sender: NodeId
    ) -> list[Effect]:
        if self._noticed_s is not None and now.mono_s - self._noticed_s < NOTICE_PERIOD_S:
            return []
        self._noticed_s = now.mono_s
        return [Notice(event, text, "warning", {"sender": sender, "why": why})]


def _not_of(node: NodeId, entry: Entry) -> bool:
    return entry.advert.node != node


def _draw(nodes: Iterable[NodeId], count: int, rng: Entropy) -> list[NodeId]:
    pool = sorted(nodes)
    if len(pool) <= count:
        return pool
    return [pool.pop(rng.randrange(len(pool))) for _ in range(count)]


def _pause_s(settings: AdvertSettings, rng: Entropy) -> Seconds:
    return settings.digest_period_s * (0.75 + rng.random() / 2)
