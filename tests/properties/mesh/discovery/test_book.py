"""The address book stays bounded, survives a restart and refuses junk, whatever happens to it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import ConfigError, StorageCorrupt
from qallow_agent.base.ids import NodeId
from qallow_agent.mesh.discovery.book import AddressBook, decode_book, encode_book
from qallow_agent.mesh.discovery.seeds import parse_seeds

NODES = st.sampled_from([NodeId(c * 26) for c in "abcdefgh"])
CONTACTS = st.builds(
    Contact, st.just(("10.0.0.1",)), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["meet", "claim", "leave", "forget", "expire"]), NODES, CONTACTS),
    max_size=40,
)


def play(steps: list[tuple[str, NodeId, Contact]], book: AddressBook) -> set[NodeId]:
    """Play steps on a book; return whom a book without bounds would hold."""
    held: set[NodeId] = set()
    for now_s, (act, node, contact) in enumerate(steps):
        if act == "meet":
            held.add(node)
            held -= set(book.meet(node, contact, b"k" * 32, now_s))
        elif act == "claim":
            held.add(node)
            held -= set(book.claim(node, contact, b"k" * 32, now_s))
        elif act == "leave":
            book.leave(node, now_s)
        elif act == "forget":
            book.forget(node)
            held.discard(node)
        else:
            held -= set(book.expire(now_s - 5))
    return held


@given(STEPS, st.integers(1, 4), st.integers(1, 3))
@settings(deadline=None)
def test_the_book_never_exceeds_its_bounds_and_names_whom_it_drops(
    steps: list[tuple[str, NodeId, Contact]], limit: int, unmet_limit: int
) -> None:
    book = AddressBook(limit, unmet_limit)
    held = play(steps, book)
    entries = book.entries()
    assert {entry.node for entry in entries} == held
    assert sum(entry.met for entry in entries) <= limit
    assert sum(not entry.met for entry in entries) <= unmet_limit


@given(STEPS)
@settings(deadline=None)
def test_whoever_was_met_survives_a_restart(steps: list[tuple[str, NodeId, Contact]]) -> None:
    book = AddressBook(100, 100)
    play(steps, book)
    again = decode_book(encode_book(book))
    assert again == tuple(entry for entry in book.entries() if entry.met)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_junk_is_refused_by_name(junk: bytes) -> None:
    hint = "no error"
    try:
        decode_book(junk)
    except StorageCorrupt as error:
        hint = error.hint
    assert hint


@given(st.text(alphabet="ab.:[]0123-", max_size=20))
@settings(deadline=None)
def test_any_seed_is_an_address_or_a_named_error(seed: str) -> None:
    try:
        (address,) = parse_seeds((seed,), 7946)
    except ConfigError as error:
        said = error.message
    else:
        assert 0 < int(address.rpartition(":")[2]) < 65536
        return
    assert repr(seed) in said
