from dataclasses import replace

import pytest

from qallow_agent.base.errors import StorageCorrupt, StorageError, StorageFull, UnknownKind
from qallow_agent.base.hlc import HybridClock, Stamp
from qallow_agent.base.ids import STORE, MeshId, NodeId
from qallow_agent.base.machine import Announce, Append, Effect, Instant, Persist
from qallow_agent.base.message import Done
from qallow_agent.base.notice import Notice
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.leaf import NEVER_US, LeafKind, parse_leaf
from qallow_agent.ledger.log import MAX_WAITING_BYTES, RETRY_S, Log
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.messages import HeadSigned, LogFailed, LogKept
from qallow_agent.ledger.note import parse_note, verified
from qallow_agent.ledger.proofs import verify_consistency, verify_inclusion
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.testing.logbook import VirtualLogbook

NODE, MESH, SEED = NodeId("n" * 26), MeshId("m" * 26), b"s" * 32
WALL_NS = 1_800_000_000_000_000_000
MARK = f"ledger/{MESH}"


def at(seconds: float) -> Instant:
    return Instant(seconds, WALL_NS + round(seconds * 1e9))


class Desk:
    """A log on a virtual disk, driven as the driver does."""

    def __init__(self) -> None:
        self.trouble: StorageError | None = None
        self.book = VirtualLogbook(self._check)
        self.heads: list[HeadSigned] = []
        self.notices: list[Notice] = []
        self.kept: dict[str, bytes] = {}
        self.bound_s = 0.5
        self.settings = LedgerSettings()
        self.log = self.boot()

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def boot(self, seed: bytes = SEED, mesh: MeshId = MESH) -> Log:
        self.log = Log(
            node=NODE,
            mesh=mesh,
            seed=seed,
            settings=self.settings,
            past=replace(self.book.open(), began=MARK in self.kept),
            read=self.book.read,
            clock=HybridClock(),
            bound=lambda _: self.bound_s,
        )
        return self.log

    def write(self, body: bytes, seconds: float, *, at_once: bool = False) -> list[Effect]:
        return self.do(
            self.log.write(LeafKind.RECEIPT, body, at(seconds), at_once=at_once), seconds
        )

    def tick(self, seconds: float) -> list[Effect]:
        return self.do(self.log.tick(at(seconds)), seconds)

    def do(self, effects: list[Effect], seconds: float) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Append):
                self.do(self._append(effect, seconds), seconds)
            elif isinstance(effect, Announce) and isinstance(effect.message, HeadSigned):
                self.heads.append(effect.message)
            elif isinstance(effect, Persist):
                self.kept[effect.name] = effect.data or b""
            elif isinstance(effect, Notice):
                self.notices.append(effect)
        self.log.check()
        return effects

    def _append(self, effect: Append, seconds: float) -> list[Effect]:
        try:
            self.book.append(effect.first, effect.entries, effect.head)
        except StorageError as error:
            failed = LogFailed(self.book.size, error.message, not error.retryable)
            return self.log.receive(STORE, failed, at(seconds))
        return self.log.receive(STORE, LogKept(self.book.size, effect.head), at(seconds))


def test_an_empty_log_wants_nothing() -> None:
    desk = Desk()
    assert desk.log.next_deadline() is None
    assert desk.tick(100.0) == []
    assert (desk.log.size, desk.log.next_index, desk.log.head) == (0, 0, None)


def test_entries_gather_for_an_epoch_and_one_head_covers_them() -> None:
    desk = Desk()
    assert desk.write(b"one", 10.0) == []
    assert desk.write(b"two", 10.5) == []
    assert desk.log.next_deadline() == 11.0
    assert desk.tick(10.9) == []
    [append] = desk.tick(11.0)
    assert isinstance(append, Append)
    assert (append.first, len(append.entries)) == (0, 2)
    assert [head.size for head in desk.heads] == [2]
    assert [parse_leaf(desk.log.entry(index)).body for index in (0, 1)] == [b"one", b"two"]


def test_a_head_is_signed_by_both_keys_at_first_and_by_one_until_30_seconds_later() -> None:
    desk = Desk()
    for second in range(0, 62, 2):
        desk.write(b"x", second)
        desk.tick(second + 1)
    signers = [len(verified(parse_note(head.note), desk.log.keys)) for head in desk.heads]
    assert signers == [2] + [1] * 14 + [2] + [1] * 14 + [2]


def test_the_last_head_gets_its_second_signature_although_nothing_more_is_written() -> None:
    desk = Desk()
    desk.write(b"x", 0.0)
    desk.tick(1.0)
    desk.write(b"y", 2.0)
    desk.tick(3.0)
    assert desk.log.next_deadline() == 31.0
    [again] = desk.tick(31.0)
    assert isinstance(again, Append)
    assert again.entries == ()
    assert desk.log.next_deadline() is None
    assert [head.size for head in desk.heads] == [1, 2, 2]
    assert len(parse_note(desk.heads[-1].note).signatures) == 2


def test_a_log_that_shall_not_have_the_second_signature_never_has() -> None:
    desk = Desk()
    desk.settings = LedgerSettings(lattice_s=0.0)
    desk.boot()
    for second in (0.0, 100.0):
        desk.write(b"x", second)
        desk.tick(second + 1.0)
    desk.boot()
    assert desk.log.next_deadline() is None
    assert [len(parse_note(head.note).signatures) for head in desk.heads] == [1, 1]


def test_an_entry_at_once_is_durable_in_its_step_and_signed_with_the_epoch() -> None:
    desk = Desk()
    desk.write(b"early", 0.0)
    [append] = desk.write(b"denial", 0.1, at_once=True)
    assert isinstance(append, Append)
    assert (len(append.entries), append.head) == (2, b"")
    assert (desk.book.size, desk.heads) == (2, [])
    [sealed] = desk.tick(1.0)
    assert isinstance(sealed, Append)
    assert (sealed.first, sealed.entries) == (2, ())
    assert desk.heads[0].size == 2


def test_a_head_is_not_told_of_before_it_is_durable() -> None:
    desk = Desk()
    desk.write(b"x", 0.0)
    [append] = desk.log.tick(at(1.0))
    assert isinstance(append, Append)
    assert desk.log.head is None
    told = desk.log.receive(STORE, LogKept(1, append.head), at(1.0))
    assert isinstance(told[0], Announce)
    assert desk.log.head == parse_note(append.head)


def test_the_first_head_is_remembered_outside_the_log() -> None:
    desk = Desk()
    desk.write(b"x", 0.0)
    desk.tick(1.0)
    assert desk.kept == {MARK: desk.log.origin.encode()}
    desk.book = VirtualLogbook(lambda: None)
    with pytest.raises(StorageCorrupt, match="gone"):
        desk.boot()


def test_an_epoch_has_a_statement_if_somebody_makes_one() -> None:
    desk = Desk()
    desk.log.statement = lambda now: b"stated at %d" % now.mono_s
    assert desk.tick(5.0) == []
    desk.write(b"x", 6.0)
    desk.tick(7.0)
    leaf = parse_leaf(desk.log.entry(1))
    assert (leaf.kind, leaf.body) == (LeafKind.EPOCH, b"stated at 7")
    assert desk.tick(8.0) == []


def test_a_leaf_says_between_which_times_it_was_written() -> None:
    desk = Desk()
    desk.log.policy = b"p" * 32
    desk.write(b"x", 0.0)
    desk.bound_s = float("inf")
    desk.write(b"y", 0.0)
    known, unknown = parse_leaf(desk.log.entry(0)), parse_leaf(desk.log.entry(1))
    assert (known.earliest_us, known.latest_us) == (
        WALL_NS // 1_000 - 500_000,
        WALL_NS // 1_000 + 500_000,
    )
    assert (unknown.earliest_us, unknown.latest_us) == (0, NEVER_US)
    assert known.stamp < unknown.stamp == Stamp(WALL_NS // 1_000_000, 1)
    assert (known.policy, known.node) == (b"p" * 32, NODE)


def test_every_entry_and_every_earlier_head_is_proved_under_the_newest() -> None:
    desk = Desk()
    for number in range(300):
        desk.write(b"%d" % number, number * 2)
        if number % 7 == 0:
            desk.tick(number * 2 + 1)
    desk.tick(1_000.0)
    desk.write(b"not signed yet", 1_001.0)
    newest = desk.heads[-1]
    for index in range(newest.size):
        leaf = leaf_hash(desk.log.entry(index))
        proof = desk.log.inclusion(index)
        verify_inclusion(leaf, index, newest.size, proof, newest.root)
    for head in desk.heads:
        proof = desk.log.consistency(head.size, newest.size)
        verify_consistency(head.size, newest.size, proof, head.root, newest.root)


def test_proofs_reach_over_tiles_that_are_full_in_memory_only() -> None:
    desk = Desk()
    for number in range(250):
        desk.write(b"%d" % number, 0.0)
    desk.tick(1.0)
    for number in range(250, 520):
        desk.write(b"%d" % number, 1.0)
    head = desk.heads[0]
    for index in (0, 249):
        leaf = leaf_hash(desk.log.entry(index))
        verify_inclusion(leaf, index, 250, desk.log.inclusion(index), head.root)
    desk.tick(2.0)
    proof = desk.log.consistency(250, 520)
    verify_consistency(250, 520, proof, head.root, desk.heads[1].root)


@pytest.mark.parametrize("index", [-1, 1])
def test_there_is_no_entry_beyond_the_log(index: int) -> None:
    desk = Desk()
    desk.write(b"x", 0.0)
    with pytest.raises(ValueError, match="no entry"):
        desk.log.entry(index)
    with pytest.raises(ValueError, match="no leaf 0"):
        desk.log.inclusion(0)
    with pytest.raises(ValueError, match="no head"):
        desk.log.consistency(1, 2)


def test_a_full_disk_is_tried_again_with_the_same_entries() -> None:
    desk = Desk()
    desk.trouble = StorageFull("no space")
    desk.write(b"one", 0.0)
    desk.tick(1.0)
    assert (desk.log.trouble, desk.log.head, desk.heads) == ("no space", None, [])
    assert desk.notices[0].event == "ledger.failed"
    assert desk.write(b"two", 2.0, at_once=True) == []  # waits with the others
    assert desk.log.next_deadline() == 1.0 + RETRY_S
    desk.trouble = None
    desk.tick(1.0 + RETRY_S)
    assert (desk.log.trouble, desk.book.size, desk.heads[0].size) == ("", 2, 2)
    assert len(parse_note(desk.heads[0].note).signatures) == 2


def test_entries_that_wait_for_a_full_disk_are_limited() -> None:
    desk = Desk()
    desk.trouble = StorageFull("no space")
    desk.write(b"first", 0.0, at_once=True)
    written = 0
    while not desk.log.write(LeafKind.DECISIONS, bytes(64_000), at(1.0)):
        written += 1
    assert written == MAX_WAITING_BYTES // 64_096 + 1
    [refused] = desk.log.write(LeafKind.DECISIONS, b"", at(1.0))
    assert isinstance(refused, Notice)
    assert refused.facts["why"] == "no space"
    assert desk.log.size == written + 1


def test_a_disk_that_loses_what_it_took_stops_the_log_until_a_restart() -> None:
    desk = Desk()
    desk.write(b"kept", 0.0)
    desk.tick(1.0)
    desk.trouble = StorageError("Input/output error")
    desk.write(b"lost", 2.0)
    desk.tick(3.0)
    assert desk.log.stopped is True
    assert desk.log.trouble == "Input/output error"
    desk.trouble = None
    assert desk.tick(100.0) == []
    assert desk.log.next_deadline() is None
    [refused] = desk.write(b"refused", 101.0)
    assert isinstance(refused, Notice)
    fresh = desk.boot()
    assert (fresh.stopped, fresh.size) == (False, 1)
    desk.write(b"again", 200.0)
    desk.tick(201.0)
    assert desk.heads[-1].size == 2


def test_a_failed_append_fails_what_was_to_follow_it() -> None:
    desk = Desk()
    first = desk.log.write(LeafKind.POLICY, b"a", at(0.0), at_once=True)
    second = desk.log.write(LeafKind.POLICY, b"b", at(0.0), at_once=True)
    desk.trouble = StorageFull("no space")
    desk.do(first, 0.0)
    desk.trouble = None
    desk.do(second, 0.0)
    assert (desk.book.size, desk.log.stopped) == (0, False)
    desk.tick(RETRY_S)
    assert [parse_leaf(entry).body for entry in desk.book.entries] == [b"a", b"b"]


def test_after_a_crash_what_is_durable_and_not_signed_is_signed_at_once() -> None:
    desk = Desk()
    desk.write(b"denial", 0.0, at_once=True)
    desk.boot()
    assert desk.log.next_deadline() == 0.0
    desk.tick(0.0)
    assert desk.heads[0].size == 1
    desk.boot()
    assert desk.log.next_deadline() is None
    assert parse_checkpoint(desk.log.head.text).size == 1 if desk.log.head else False


@pytest.mark.parametrize(
    ("seed", "mesh"), [(b"t" * 32, MESH), (SEED, MeshId("o" * 26))], ids=["key", "mesh"]
)
def test_a_log_of_another_key_or_mesh_is_not_continued(seed: bytes, mesh: MeshId) -> None:
    desk = Desk()
    desk.write(b"x", 0.0)
    desk.tick(1.0)
    with pytest.raises(StorageCorrupt) as caught:
        desk.boot(seed, mesh)
    assert "restore" in caught.value.hint


def test_a_log_takes_no_message_that_is_not_for_it() -> None:
    with pytest.raises(UnknownKind):
        Desk().log.receive(STORE, Done(), at(0.0))


def test_a_node_without_a_seed_has_no_log() -> None:
    with pytest.raises(ValueError, match="seed of 0 bytes"):
        Desk().boot(b"")
