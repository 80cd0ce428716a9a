"""Whatever a member sends about mirrors: nothing is written that its log did not sign."""

import contextlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.base.errors import PeerError
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Append, Instant, Send
from qallow_agent.ledger.growth import Past
from qallow_agent.ledger.mirror import Mirror, MirrorParts
from qallow_agent.ledger.mirror_kinds import CopyKept, EntriesSent, EntriesWanted
from qallow_agent.ledger.seats import keys_from, make_card
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.testing.logbook import VirtualLogbook
from qallow_agent.testing.scribe import Owner, Scribe

MESH = MeshId("m" * 26)
IDENTITIES = {name: SigningKey(name.encode() * 32) for name in "ab"}
A, B = (NodeId(key.id) for key in IDENTITIES.values())
NOW = Instant(100.0, 1_800_000_000_000_000_000)


def seed_of(node: NodeId) -> bytes:
    return node.encode() + b"s" * 6


def scribe_of(node: NodeId, entries: int) -> Scribe:
    book = VirtualLogbook(lambda: None)
    scribe = Scribe(book, LedgerSettings(lattice_s=0.0), Owner(node, MESH, seed_of(node)))
    if entries:
        scribe.commit(b"%d" % number for number in range(entries))
    return scribe


def mirror_of(name: str, scribe: Scribe) -> Mirror:
    node = NodeId(IDENTITIES[name].id)
    return Mirror(
        me=node,
        mesh=MESH,
        settings=LedgerSettings(),
        log=scribe.log,
        parts=MirrorParts(
            members=lambda: tuple(sorted((A, B))),
            past=lambda _: Past(),
            card=make_card(MESH, IDENTITIES[name], scribe.log.keys[0].public),
            key_for=keys_from(seed_of(node)),
            manifest=lambda: None,
        ),
    )


OWNER = scribe_of(A, 300)
HANDED = mirror_of("a", OWNER)
[ANSWER] = HANDED.receive(B, EntriesWanted(0), NOW)
assert isinstance(ANSWER, Send)
GOOD = ANSWER.message
assert isinstance(GOOD, EntriesSent)


def keeper() -> Mirror:
    """Return a mirror that has just asked."""
    mirror = mirror_of("b", scribe_of(B, 0))
    mirror.member_changed(NOW)
    [asked] = mirror.tick(Instant(NOW.mono_s + 5.0, NOW.wall_ns))
    assert asked == Send(A, EntriesWanted(0))
    return mirror


def test_what_an_owner_hands_out_is_written() -> None:
    [append] = keeper().receive(A, GOOD, NOW)
    assert isinstance(append, Append)
    assert list(append.entries) == OWNER.book.entries[: GOOD.end]  # type: ignore[attr-defined]
    assert append.log == A


def flipped(at: int) -> bytes:
    data = bytearray(GOOD.data)
    data[at % len(data)] ^= 1
    return bytes(data)


small = st.integers(-3, 310)
changes = st.fixed_dictionaries(
    {},
    optional={
        "first": small,
        "offset": small,
        "end": small,
        "data": st.binary(max_size=90) | st.integers(0, 9_000).map(flipped),
        "proof": st.lists(st.binary(min_size=31, max_size=33), max_size=70).map(tuple),
        "head": st.binary(max_size=60) | st.just(GOOD.head[:-9]),
    },
)


@given(changes)
def test_nothing_else_is_written(changed: dict[str, object]) -> None:
    sent = msgspec.structs.replace(GOOD, **changed)
    mirror = keeper()
    effects = []
    with contextlib.suppress(PeerError):
        effects = mirror.receive(A, sent, NOW)
    for effect in effects:
        if isinstance(effect, Append):
            own = OWNER.book.entries  # type: ignore[attr-defined]
            assert list(effect.entries) == own[: len(effect.entries)]
    mirror.check()


@given(
    st.builds(EntriesWanted, st.integers(-(2**63), 2**64 - 1), st.integers(-(2**63), 2**64 - 1))
    | st.builds(
        CopyKept, small, small, st.binary(max_size=33), st.text(max_size=40) | st.just("\u2014 a b")
    )
)
def test_junk_about_mirrors_raises_only_peer_errors(junk: EntriesWanted | CopyKept) -> None:
    with contextlib.suppress(PeerError):
        for effect in HANDED.receive(B, junk, NOW):
            assert isinstance(effect, Send)
