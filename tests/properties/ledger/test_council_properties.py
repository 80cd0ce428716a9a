"""Whatever a peer sends about logs, only its own fault is raised; quorums of any size hold."""

import contextlib
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.codec import Codec
from qallow_agent.base.errors import PeerError
from qallow_agent.base.message import kinds
from qallow_agent.ledger.kinds import COUNCIL_KINDS, HeadOffered, HeadsTold, ManifestVoted
from qallow_agent.ledger.manifest import SeenHead, Vote
from qallow_agent.ledger.quorum import Code, Mark, Quorum, judge, merge
from qallow_agent.ledger.seats import Card
from qallow_agent.ledger.statement import Statement, parse_statement
from qallow_agent.testing.councils import Councils

CODEC = Codec(kinds(COUNCIL_KINDS), 65_536)
COUNCILS = Councils(3)
COUNCILS.settle(10)
NODES = COUNCILS.ids()
MEMBER = COUNCILS.members[NODES[0]]

short = st.binary(max_size=80)
digests = st.one_of(st.binary(min_size=32, max_size=32), short)
cards = st.one_of(
    st.just(COUNCILS.members[NODES[1]].council.card),
    st.builds(
        Card, st.one_of(st.just(COUNCILS.mesh), st.text(max_size=30)), digests, digests, short
    ),
)
notes = st.one_of(short, st.text(max_size=200).map(str.encode))
heads = st.builds(SeenHead, cards, notes)
nodes = st.sampled_from(NODES)
votes = st.builds(Vote, st.integers(0, 3), digests, nodes, st.tuples(heads), digests, short, short)
offers = st.builds(
    HeadOffered, st.integers(0, 3), cards, st.integers(-1, 9), st.tuples(digests), notes
)
messages = st.one_of(
    offers, st.builds(HeadsTold, st.tuples(heads)), st.builds(ManifestVoted, votes)
)


@given(st.binary(max_size=400))
def test_junk_is_a_peers_fault(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        CODEC.decode(data)
    with contextlib.suppress(PeerError):
        parse_statement(data[:104])
    assert MEMBER.council.committee.version == 1


@settings(max_examples=200)
@given(messages)
def test_a_council_survives_every_message_of_the_right_shape(message: object) -> None:
    decoded = CODEC.decode(CODEC.encode(message))  # type: ignore[arg-type]
    before = dict(MEMBER.kept)
    with contextlib.suppress(PeerError):
        MEMBER.council.receive(NODES[1], decoded, COUNCILS.now)
    assert MEMBER.kept == before
    assert not MEMBER.council.forks.all()


numbers = st.integers(0, 5_000)


@given(st.data())
def test_every_statement_survives_its_bytes(data: st.DataObject) -> None:
    audits, members = data.draw(numbers), data.draw(st.integers(0, 1_000))
    share = st.integers(0, members)
    earliest = data.draw(st.integers(0, 1 << 60))
    stated = Statement(
        audits, data.draw(st.integers(0, audits * 1_000_000)), members, data.draw(share),
        data.draw(share), data.draw(share), b"p" * 32, b"m" * 32, earliest,
        earliest + data.draw(numbers),
    )  # fmt: skip
    assert parse_statement(stated.encode()) == stated
    assert 0 <= stated.coherence <= 1_000


@given(st.integers(1, 31))
def test_two_quorums_share_more_members_than_may_lie(members: int) -> None:
    quorum = Quorum(members)
    overlap = 2 * quorum.needed - members
    assert overlap > quorum.faulty
    if members <= 7:
        for one in combinations(range(members), quorum.needed):
            for other in combinations(range(members), quorum.needed):
                assert len({*one} & {*other}) >= overlap


marks = st.lists(st.builds(Mark, st.integers(1, 4), st.sampled_from([b"x", b"y"])), max_size=4).map(
    lambda each: merge(*each)
)


@given(marks, st.integers(0, 5), st.builds(Mark, st.integers(0, 5), st.sampled_from([b"x", b"y"])))
def test_a_mark_goes_only_when_a_proof_shows_it_under_the_head(
    before: tuple[Mark, ...], old: int, offered: Mark
) -> None:
    code, after = judge(before, old, offered, proves=lambda mark: mark.root == offered.root)
    gone = set(before) - set(after)
    assert len(gone) <= 1
    assert all(mark.root == offered.root and mark.size < offered.size for mark in gone)
    assert code is not Code.WITNESSED or after == (offered,)
