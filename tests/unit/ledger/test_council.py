"""Councils of members with real keys: heads, committees, restarts, backups and forks."""

import pytest

from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Send
from qallow_agent.ledger.certificate import certified_by, open_head, signers, trust_policy
from qallow_agent.ledger.convener import ABSENT_S
from qallow_agent.ledger.forks import TELL_S
from qallow_agent.ledger.kinds import (
    ForkFound,
    HeadCosigned,
    HeadOffered,
    HeadRefused,
    HeadsTold,
    ManifestProposed,
    ManifestVoted,
    ProofWanted,
)
from qallow_agent.ledger.manifest import SeenHead, propose
from qallow_agent.ledger.note import Note, parse_note
from qallow_agent.ledger.policy import parse_policy
from qallow_agent.ledger.quorum import Code
from qallow_agent.ledger.seats import RECOMPUTED, WITNESSED, keys_from, make_seat
from qallow_agent.testing.councils import Councils
from qallow_agent.testing.forger import Forger


def running(count: int) -> Councils:
    """Return members whose committee has formed and whose logs are certified once."""
    councils = Councils(count)
    councils.settle(10)
    for node in councils.ids():
        councils.write(node, b"first")
    councils.settle(10)
    return councils


def forger_of(councils: Councils, node: NodeId) -> Forger:
    member = councils.members[node]
    return Forger(member.council.card, member.keys, member.logbook.entries)


def refusals(councils: Councils, to: NodeId) -> list[HeadRefused]:
    return [said for _, whom, said in councils.said if whom == to and isinstance(said, HeadRefused)]


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (7, 5)])
def test_a_committee_of_any_size_certifies_every_log(count: int, needed: int) -> None:
    councils = running(count)
    for node in councils.ids():
        progress = councils.members[node].council.certifier.progress
        assert (progress.members, progress.provisional) == (count, 0)
        assert progress.by >= needed


def test_a_certificate_can_be_checked_from_the_manifest_alone() -> None:
    councils = running(4)
    member = councils.members[councils.ids()[0]]
    manifest = member.council.committee.manifest
    assert manifest is not None
    note = parse_note(member.certified[-1].note)
    assert len(certified_by(note, manifest)) >= 3
    assert len(signers(note, manifest.cosigners(RECOMPUTED))) >= 3
    assert open_head(note.encode(), member.council.card).checkpoint.size == 2


def test_a_published_trust_policy_believes_a_certificate_and_nothing_less() -> None:
    councils = running(4)
    member = councils.members[councils.ids()[0]]
    manifest, note = member.council.committee.manifest, member.council.certifier.certified
    assert manifest is not None
    assert note is not None
    policy = parse_policy(trust_policy(member.council.card, manifest))
    policy.check(note)
    fewer = [each for each in note.signatures if "/witnessed/" not in each.name]
    with pytest.raises(WireError, match="the policy asks for"):
        policy.check(Note(note.text, tuple(fewer)))


def test_a_statement_that_peers_observe_otherwise_is_witnessed_but_not_recomputed() -> None:
    councils = running(4)
    node = councils.ids()[0]
    member = councils.members[node]
    manifest = member.council.committee.manifest
    assert manifest is not None
    for other in councils.ids()[1:]:
        councils.members[other].council.witness.recompute = lambda _, __: "other members"
    councils.write(node, b"more")
    councils.settle(5)
    note = parse_note(member.certified[-1].note)
    assert len(signers(note, manifest.cosigners(WITNESSED))) >= 3
    assert set(signers(note, manifest.cosigners(RECOMPUTED))) <= {node}


def test_less_than_a_quorum_leaves_entries_provisional_until_the_others_are_back() -> None:
    councils = running(4)
    first, *others = councils.ids()
    for other in others[:2]:
        councils.members[other].up = False
    councils.write(first, b"alone")
    councils.settle(20)
    progress = councils.members[first].council.certifier.progress
    assert progress.provisional == 2
    for other in others[:2]:
        councils.members[other].up = True
        councils.do(first, councils.members[first].council.member_up(other, councils.now))
    councils.settle(2)
    assert councils.members[first].council.certifier.progress.provisional == 0


def test_a_witness_answers_with_the_codes_of_the_protocol() -> None:
    councils = running(4)
    liar, victim = councils.ids()[:2]
    member = councils.members[liar]
    manifest = member.council.committee.manifest
    assert manifest is not None
    genuine = forger_of(councils, liar)
    good = genuine.offers(manifest.version, [victim])[0].message
    assert isinstance(good, HeadOffered)
    size = open_head(good.head, good.card).checkpoint.size
    wrong = {
        Code.MALFORMED: HeadOffered(good.version, good.card, size + 1, (), good.head),
        Code.CONFLICT: HeadOffered(good.version, good.card, size - 1, good.proof, good.head),
        Code.FORBIDDEN: HeadOffered(
            good.version, good.card, size, (), good.head[:-9] + b"AAAAAAAA\n"
        ),
    }
    for code, offer in wrong.items():
        councils.say(liar, [Send(victim, offer)])
        assert refusals(councils, liar)[-1].code == code
    genuine.write(b"next")
    longer = genuine.offers(manifest.version, [victim])[0].message
    assert isinstance(longer, HeadOffered)
    bent = (bytes(32), *longer.proof[1:])
    councils.say(liar, [Send(victim, HeadOffered(1, longer.card, size, bent, longer.head))])
    assert refusals(councils, liar)[-1].code == Code.INCONSISTENT


def test_a_node_may_offer_no_log_but_its_own() -> None:
    councils = running(4)
    owner, thief, victim = councils.ids()[:3]
    offer = forger_of(councils, owner).offers(1, [victim])
    councils.say(thief, offer)
    assert refusals(councils, thief)[-1].code == Code.FORBIDDEN


def test_a_claim_to_have_seen_more_than_there_is_is_not_believed() -> None:
    councils = running(4)
    owner, liar = councils.ids()[:2]
    member = councils.members[owner]
    for other in councils.ids()[1:]:
        councils.members[other].up = False
    councils.write(owner, b"more")
    councils.settle(2)
    before = len(councils.said)
    card = member.council.card
    refused = HeadRefused(1, card.origin, member.log.size, Code.CONFLICT, 10_000)
    councils.say(liar, [Send(owner, refused)])
    offers = [each for _, _, each in councils.said[before:] if isinstance(each, HeadOffered)]
    assert not offers
    assert member.notices[-1].event == "ledger.head-refused"


def test_a_witness_that_just_started_remembers_at_once_and_cosigns_when_others_do_too() -> None:
    councils = running(4)
    owner, started = councils.ids()[:2]
    councils.restart(started)
    councils.write(owner, b"more")
    before = len(councils.said)
    councils.settle(2)
    lines = [
        said.lines
        for sender, to, said in councils.said[before:]
        if (sender, to) == (started, owner) and isinstance(said, HeadCosigned)
    ]
    assert "/seen/" in lines[0][0]
    assert all("/witnessed/" not in line for line in lines[0])


def test_a_witness_whose_disk_is_full_cosigns_nothing_that_it_would_forget() -> None:
    councils = running(4)
    owner, poor = councils.ids()[:2]
    member = councils.members[poor]
    name = f"coherence/seen/{owner}"
    old = member.kept[name]
    councils.full.add(poor)
    before = len(councils.said)
    councils.cut.update((poor, other) for other in councils.ids() if other != owner)
    councils.cut.update((other, owner) for other in councils.ids() if other not in {owner, poor})
    councils.write(owner, b"more")
    councils.settle(2)
    answers = [said for sender, _, said in councils.said[before:] if sender == poor]
    assert not any(isinstance(said, HeadCosigned) for said in answers)
    assert member.kept[name] == old
    councils.full.clear()
    councils.settle(20)
    answers = [said for sender, _, said in councils.said[before:] if sender == poor]
    assert any(isinstance(said, HeadCosigned) for said in answers)
    assert member.kept[name] != old


def test_a_backup_brought_back_does_not_help_to_certify_a_second_history() -> None:
    councils = running(4)
    liar, restored, one, other = councils.ids()
    backup = dict(councils.members[restored].kept)
    version = 1
    x, y = forger_of(councils, liar), forger_of(councils, liar)
    x.write(b"x")
    y.write(b"y")
    councils.say(liar, x.offers(version, [restored]))
    councils.restart(restored, backup)
    before = len(councils.said)
    councils.say(liar, y.offers(version, [restored, one]))
    councils.say(liar, x.offers(version, [other]))
    answers = [
        (sender, said.lines)
        for sender, to, said in councils.said[before:]
        if to == liar and isinstance(said, HeadCosigned)
    ]
    witnesses = {who for who, lines in answers if any("/witnessed/" in line for line in lines)}
    assert witnesses == {one, other}


def test_two_heads_of_one_size_convict_a_log_everywhere_and_for_ever() -> None:
    councils = running(4)
    liar, *honest = councils.ids()
    for text, victim in zip((b"x", b"y"), honest, strict=False):
        forger = forger_of(councils, liar)
        forger.write(text)
        councils.say(liar, forger.offers(1, [victim]))
    councils.settle(4 * TELL_S)
    for node in honest:
        member = councils.members[node]
        assert [fork.node for fork in member.forks] == [liar]
        councils.restart(node)
        assert councils.members[node].council.forks.forked(liar)


def test_heads_of_two_sizes_convict_a_log_that_cannot_join_them() -> None:
    councils = running(4)
    liar, one, other, _ = councils.ids()
    short, long = forger_of(councils, liar), forger_of(councils, liar)
    short.write(b"x")
    long.write(b"y")
    long.write(b"z")
    councils.say(liar, short.offers(1, [one]))
    councils.write(liar, b"true")
    councils.members[liar].up = True
    councils.say(liar, long.offers(1, [other]))
    councils.settle(4 * TELL_S)
    asked = [to for _, to, said in councils.said if isinstance(said, ProofWanted)]
    assert liar in asked
    assert any(councils.members[node].forks for node in (one, other))


def test_an_honest_log_that_is_asked_proves_that_its_heads_go_together() -> None:
    councils = running(4)
    owner, behind, ahead, _ = councils.ids()
    councils.cut.add((owner, behind))
    councils.write(owner, b"more")
    councils.settle(3)
    councils.cut.clear()
    before = len(councils.said)
    heads = councils.members[ahead].council.witness.memory.heads()
    councils.say(ahead, [Send(behind, HeadsTold(heads))])
    kinds = [type(said) for _, _, said in councils.said[before:]]
    assert ProofWanted in kinds
    assert not councils.members[behind].forks


def test_a_log_that_does_not_answer_is_asked_again_later_and_not_convicted() -> None:
    councils = running(4)
    silent, one, other, _ = councils.ids()
    forger = forger_of(councils, silent)
    forger.write(b"x")
    councils.members[silent].up = False
    told = HeadsTold((SeenHead(councils.members[silent].council.card, forger.head()),))
    for seconds in (0, 1, 20):
        councils.settle(seconds)
        effects = councils.members[one].council.receive(other, told, councils.now)
        asks = [each for each in effects if isinstance(each, Send)]
        assert len(asks) == (seconds != 1)
    assert not councils.members[one].forks


def test_forged_evidence_convicts_nobody() -> None:
    councils = running(4)
    victim, accuser, judge, _ = councils.ids()
    card = councils.members[victim].council.card
    forger = Forger(card, councils.members[accuser].keys, [b"x"])
    other = Forger(card, councils.members[accuser].keys, [b"y"])
    with pytest.raises(WireError):
        councils.say(accuser, [Send(judge, ForkFound(card, forger.head(), other.head()))])
    assert not councils.members[judge].forks


# --- committees -----------------------------------------------------------------------------------


def test_a_committee_grows_by_the_votes_of_old_and_new_members() -> None:
    councils = Councils(5)
    late = councils.ids()[-1]
    first = next(iter(councils.members))
    if late == first:
        late = councils.ids()[0]
    councils.members[late].up = False
    councils.settle(10)
    councils.members[late].up = True
    for node in councils.ids():
        councils.do(node, councils.members[node].council.member_up(late, councils.now))
    councils.settle(10)
    for node in councils.ids():
        held = councils.members[node].council.committee.held
        assert held is not None
        assert held.manifest.version == 2
        assert len(held.manifest.seats) == 5
        assert held.previous is not None
        assert len(held.previous.seats) == 4


def test_a_member_that_missed_a_change_catches_up_when_it_is_offered_a_head() -> None:
    councils = Councils(5)
    operator = next(iter(councils.members))
    late, deaf = [node for node in councils.ids() if node != operator][:2]
    councils.members[late].up = False
    councils.settle(10)
    councils.members[late].up = True
    councils.cut.update((node, deaf) for node in councils.ids() if node != deaf)
    councils.do(operator, councils.members[operator].council.member_up(late, councils.now))
    councils.settle(10)
    assert councils.members[operator].council.committee.version == 2
    assert councils.members[deaf].council.committee.version == 1
    councils.cut.clear()
    councils.write(operator, b"more")
    councils.settle(3)
    councils.settle(10)
    held = councils.members[operator].council.committee.manifest
    assert councils.members[deaf].council.committee.manifest == held
    assert held is not None
    assert len(held.seats) == 5


def test_a_member_votes_for_one_proposal_of_a_version_only() -> None:
    councils = running(4)
    member = councils.members[councils.ids()[1]]
    held = member.council.committee.manifest
    assert held is not None

    def proposal(count: int) -> ManifestProposed:
        chosen = [councils.members[node] for node in councils.ids()[:count]]
        seats = [
            make_seat(councils.mesh, 2, each.keys.identity, keys_from(each.keys.ledger))
            for each in chosen
        ]
        return ManifestProposed(propose(councils.mesh_key, councils.mesh, held, seats), held)

    sender = councils.ids()[0]
    effects = member.council.receive(sender, proposal(3), councils.now)
    assert any(
        isinstance(each, Send) and isinstance(each.message, ManifestVoted) for each in effects
    )
    with pytest.raises(WireError, match="another proposal"):
        member.council.receive(sender, proposal(4), councils.now)


def test_the_fence_of_a_vote_holds_after_a_restart() -> None:
    councils = running(4)
    owner, voter = councils.ids()[:2]
    member = councils.members[voter]
    held = member.council.committee.manifest
    assert held is not None
    seats = [
        make_seat(councils.mesh, 2, each.keys.identity, keys_from(each.keys.ledger))
        for each in councils.members.values()
    ]
    said = ManifestProposed(propose(councils.mesh_key, councils.mesh, held, seats), held)
    councils.cut.update((voter, node) for node in councils.ids() if node != owner)
    effects = member.council.receive(owner, said, councils.now)
    councils.do(voter, [each for each in effects if not isinstance(each, Send)])
    councils.restart(voter)
    councils.write(owner, b"more")
    councils.settle(2)
    assert councils.members[voter].council.witness.voted == 2
    assert {each.code for each in refusals(councils, owner)} == {Code.FORBIDDEN}


def test_a_member_that_is_down_for_long_is_left_out_when_that_makes_certificates_easier() -> None:
    councils = running(4)
    gone = councils.ids()[-1]
    operator = next(iter(councils.members))
    if gone == operator:
        gone = councils.ids()[0]
    councils.members[gone].up = False
    for node in councils.ids():
        councils.do(node, councils.members[node].council.member_down(councils.now))
    councils.settle(ABSENT_S / 2, step_s=2.0)
    assert len(councils.members[operator].council.committee.manifest.seats) == 4  # type: ignore[union-attr]
    councils.settle(2 * ABSENT_S, step_s=2.0)
    assert len(councils.members[operator].council.committee.manifest.seats) == 3  # type: ignore[union-attr]


def test_what_an_old_committee_certified_is_continued_by_the_new_one() -> None:
    councils = Councils(5)
    operator = next(iter(councils.members))
    late = next(node for node in reversed(councils.ids()) if node != operator)
    councils.members[late].up = False
    councils.settle(10)
    for node in councils.ids():
        councils.write(node, b"before")
    councils.settle(5)
    councils.members[late].up = True
    for node in councils.ids():
        councils.do(node, councils.members[node].council.member_up(late, councils.now))
    councils.settle(10)
    memory = councils.members[late].council.witness.memory
    assert {head.card.node for head in memory.heads()} >= set(councils.ids()) - {late}
