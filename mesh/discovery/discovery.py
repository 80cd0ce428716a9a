"""Discovery: the machine that finds members, by shouting, by seeds and by remembering."""

from collections.abc import Mapping

from msgspec.structs import replace

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import Address, Entropy, MeshId, NodeId, Sender, is_local
from qallow_agent.base.machine import (
    Announce,
    Broadcast,
    Effect,
    Instant,
    Persist,
    soonest,
)
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.discovery.book import (
    BOOK_FILE,
    AddressBook,
    BookEntry,
    decode_book,
    encode_book,
    plausible,
)
from qallow_agent.mesh.discovery.schedule import Schedule
from qallow_agent.mesh.discovery.seeds import parse_seeds
from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.wire.facts import MemberDown, MemberHeardOf, MemberMet, MemberUp
from qallow_agent.mesh.wire.kinds import Beacon

_SHOUT = "shout"
"""The one key of the beacon's own schedule."""

_MAX_CLONES = 16
"""Clones that are named; a mesh with more has another problem."""

_MAX_TARGETS = 64
"""Addresses that one shout names; a member left out is tried again like any other."""

_BIRTH_GAP_S = 0.01
"""Seconds per remembered member over which the first tries after birth are spread."""


class Discovery:
    """Finds members and never gives one up: beacons, seeds and the address book, all in parallel.

    It proves nothing: whom it finds it announces as heard of, and the door decides.

    Args:
        me: Our id.
        mesh: Our mesh; beacons of others are ignored.
        contact: Where we can be reached.
        curve_key: Our public CURVE key.
        settings: The waits and bounds.
        rng: Injected entropy.
        kept: Bytes persisted under this room's names by an earlier run.

    Raises:
        ConfigError: A seed is no address.
        StorageCorrupt: The kept book does not decode.
    """

    def __init__(
        self,
        *,
        me: NodeId,
        mesh: MeshId,
        contact: Contact,
        curve_key: bytes,
        settings: DiscoverySettings,
        rng: Entropy,
        kept: Mapping[str, bytes],
    ) -> None:
        self._me = me
        self._beacon = Beacon(mesh, me, contact, curve_key)
        self._settings = settings
        self._rng = rng
        self._seeds = parse_seeds(settings.seeds, settings.seed_port)
        entries = decode_book(kept[BOOK_FILE]) if BOOK_FILE in kept else ()
        self._book = AddressBook(settings.book_limit, settings.unmet_limit, entries)
        self._up: set[NodeId] = set()
        self._shouts: Schedule[str] = Schedule(settings.beacon_first_s, rng)
        self._shouts.start(_SHOUT, 0.0)
        self._tries: Schedule[NodeId] = Schedule(settings.recontact_first_s, rng)
        self._kept = tuple(entry.node for entry in entries if entry.left_s is None)
        self._answers: dict[Address, None] = {}
        self._answer_s: Seconds | None = None
        self._save_s: Seconds | None = None
        self._clones: set[Contact] = set()
        self.ignored = 0

    # --- the Machine interface --------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in a beacon of a peer or a fact of our own node."""
        effects: list[Effect] = []
        if isinstance(message, Beacon):
            effects = self._hear(sender, message, now)
        elif is_local(sender) or sender == self._me:
            self._take_fact(message, now)
        self._plan_save(now)
        return effects

    def tick(self, now: Instant) -> list[Effect]:
        """Shout, answer, try lost members again, and save the book: whatever is due."""
        self._remember(now)
        self._book.expire(int(now.wall_s - self._settings.left_kept_s))
        effects: list[Effect] = []
        targets: dict[Address, None] = {}
        for node in self._tries.due(now.mono_s, self._settings.recontact_longest_s):
            entry = self._book.get(node)
            if entry is not None:
                effects.append(Announce(MemberHeardOf(node, entry.contact, entry.curve_key)))
                targets.update(_datagram_addresses(entry.contact))
        longest_s = self._settings.beacon_slow_s if self._up else self._settings.beacon_alone_s
        shouting = self._shouts.due(now.mono_s, longest_s)
        if shouting:
            targets.update(dict.fromkeys(self._seeds))
        if shouting or targets:
            effects.append(self._shout(targets, reply=False))
        if self._answer_s is not None and self._answer_s <= now.mono_s:
            effects.append(self._shout(self._answers, reply=True))
            self._answers, self._answer_s = {}, None
        self._plan_save(now)
        if self._save_s is not None and self._save_s <= now.mono_s:
            effects.append(self._save())
        return effects

    def next_deadline(self) -> Seconds | None:
        """Return when there is something to shout, try or save."""
        return soonest(
            self._shouts.next_deadline(),
            self._tries.next_deadline(),
            self._answer_s,
            self._save_s,
        )

    def check(self) -> None:
        """Raise InvariantBroken when somebody lost is not tried again, or the book overflows."""
        settings = self._settings
        if len(self._book) > settings.book_limit + settings.unmet_limit:
            raise InvariantBroken(f"the address book holds {len(self._book)} entries")
        for entry in self._book.entries():
            wanted = entry.node not in self._up and entry.left_s is None
            if wanted != (entry.node in self._tries) and entry.node not in self._kept:
                raise InvariantBroken(f"whether {entry.node} is tried again is wrong")

    # --- for the rest of the node -----------------------------------------------------------------

    def book(self) -> tuple[BookEntry, ...]:
        """Return every address known, members never met included, sorted by node."""
        return self._book.entries()

    def seeds(self) -> tuple[Address, ...]:
        """Return the seeds as addresses."""
        return self._seeds

    def forget(self, node: NodeId, now: Instant) -> None:
        """Drop a member, as after a revocation."""
        self._book.forget(node)
        self._tries.stop(node)
        self._plan_save(now)

    # --- stimuli ----------------------------------------------------------------------------------

    def _hear(self, sender: Sender, beacon: Beacon, now: Instant) -> list[Effect]:
        if (
            beacon.mesh != self._beacon.mesh
            or beacon.node != sender
            or not plausible(beacon.contact, beacon.curve_key)
        ):
            self.ignored += 1
            return []
        if beacon.node == self._me:
            return self._hear_ourselves(beacon)
        known = self._book.get(beacon.node)
        same = known is not None and (known.contact, known.curve_key) == (
            beacon.contact,
            beacon.curve_key,
        )
        if same and beacon.node in self._up:
            return []
        if not beacon.reply:
            self._plan_answer(beacon, now)
        if not same:
            self._claim(beacon.node, beacon.contact, beacon.curve_key, now)
        return [Announce(MemberHeardOf(beacon.node, beacon.contact, beacon.curve_key))]

    def _hear_ourselves(self, beacon: Beacon) -> list[Effect]:
        """Ignore our own echo; name a second process that uses our identity."""
        ours = self._beacon
        echo = (beacon.contact, beacon.curve_key) == (ours.contact, ours.curve_key)
        if echo or beacon.contact in self._clones or len(self._clones) >= _MAX_CLONES:
            return []
        self._clones.add(beacon.contact)
        return [
            Notice(
                "discovery.clone",
                "another process uses our identity; give one of the two a new one",
                "error",
                {"ours": _show(ours.contact), "theirs": _show(beacon.contact)},
            )
        ]

    def _take_fact(self, message: Message, now: Instant) -> None:
        match message:
            case MemberMet():
                certificate, binding = message.credential.certificate, message.credential.binding
                self._meet(certificate.node, message.contact, binding.curve_key, now)
            case MemberUp(record=record):
                self._meet(record.node, record.contact, record.curve_key, now)
                self._up.add(record.node)
                self._tries.stop(record.node)
            case MemberDown():
                self._lose(message.node, now, left=message.left)
            case MemberHeardOf():
                self._claim(message.node, message.contact, message.curve_key, now)
            case _:
                pass

    # --- parts ------------------------------------------------------------------------------------

    def _remember(self, now: Instant) -> None:
        """Try the members of an earlier run soon after birth, a large book not all at once."""
        spread_s = len(self._kept) * _BIRTH_GAP_S
        for node in self._kept:
            entry = self._book.get(node)
            if entry is not None and entry.left_s is None and node not in self._up:
                self._tries.start(node, now.mono_s + spread_s * self._rng.random())
        self._kept = ()

    def _meet(self, node: NodeId, contact: Contact, curve_key: bytes, now: Instant) -> None:
        if node == self._me:
            return
        pushed_out = self._book.meet(node, contact, curve_key, int(now.wall_s))
        self._watch(node, pushed_out, now)

    def _claim(self, node: NodeId, contact: Contact, curve_key: bytes, now: Instant) -> None:
        if node == self._me:
            return
        pushed_out = self._book.claim(node, contact, curve_key, int(now.wall_s))
        self._watch(node, pushed_out, now)

    def _watch(self, node: NodeId, pushed_out: list[NodeId], now: Instant) -> None:
        for gone in pushed_out:
            self._tries.stop(gone)
        entry = self._book.get(node)
        if entry is None or entry.left_s is not None or node in self._up:
            return
        if node not in self._tries:
            self._tries.start(node, now.mono_s + self._settings.recontact_first_s)

    def _lose(self, node: NodeId, now: Instant, *, left: bool) -> None:
        self._up.discard(node)
        if left:
            self._book.leave(node, int(now.wall_s))
            self._tries.stop(node)
            return
        self._shouts.start(_SHOUT, now.mono_s + self._settings.beacon_first_s)
        entry = self._book.get(node)
        if entry is not None and entry.left_s is None:
            self._tries.start(node, now.mono_s + self._settings.recontact_first_s)

    def _plan_answer(self, beacon: Beacon, now: Instant) -> None:
        """Answer a stranger with a chance that leaves about ``answers_wanted`` answers in all."""
        others = len(self._up) + 1
        if self._rng.randrange(others) >= self._settings.answers_wanted:
            return
        if len(self._answers) < _MAX_TARGETS:
            self._answers.update(_datagram_addresses(beacon.contact))
        if self._answer_s is None:
            self._answer_s = now.mono_s + self._settings.answer_gap_s * self._rng.random()

    def _shout(self, targets: Mapping[Address, None], *, reply: bool) -> Broadcast:
        return Broadcast(replace(self._beacon, reply=reply), tuple(targets)[:_MAX_TARGETS])

    def _plan_save(self, now: Instant) -> None:
        if self._book.changed and self._save_s is None:
            self._save_s = now.mono_s + self._settings.save_after_s

    def _save(self) -> Persist:
        self._book.changed, self._save_s = False, None
        return Persist(BOOK_FILE, encode_book(self._book))


def _datagram_addresses(contact: Contact) -> dict[Address, None]:
    return dict.fromkeys(contact.addresses(contact.datagram)) if contact.datagram else {}


def _show(contact: Contact) -> str:
    return " ".join(contact.addresses(contact.stream))
