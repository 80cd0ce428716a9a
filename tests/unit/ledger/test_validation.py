"""Validators: who is asked, what they answer, and what is believed of it."""

import pytest

from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.rendezvous import rendezvous
from qallow_agent.ledger.kinds import Assent, Blob, DecisionBatch, Judged, Objected, Objection
from qallow_agent.ledger.log import origin_of
from qallow_agent.ledger.validation import (
    ANSWER_S,
    MAX_BATCH_BYTES,
    Complaint,
    Validation,
    believe_all,
)

MESH = MeshId("m" * 26)
KEYS = {NodeId(key.id): key for key in (SigningKey(bytes([number]) * 32) for number in range(6))}
NODES = tuple(sorted(KEYS))
ME = NODES[0]
EVIDENCE = (Blob(b"d" * 32, b"evidence"),)


def at(seconds: float) -> Instant:
    return Instant(seconds, round(seconds * 1e9))


def room(node: NodeId, complaint: Complaint | None = None) -> Validation:
    def recheck(author: NodeId, batch: DecisionBatch, now: Instant) -> Complaint | None:
        return complaint or believe_all(author, batch, now)

    return Validation(
        me=node,
        mesh=MESH,
        identity=KEYS[node],
        workers=lambda: NODES,
        key_of=lambda each: KEYS[each].public if each in KEYS else None,
        recheck=recheck,
    )


def sent(effects: list[Effect]) -> list[Send]:
    return [each for each in effects if isinstance(each, Send)]


def judged(effects: list[Effect]) -> Judged:
    facts = [each.message for each in effects if isinstance(each, Announce)]
    assert len(facts) == 1
    assert isinstance(facts[0], Judged)
    return facts[0]


def ask(author: Validation) -> list[Send]:
    return sent(author.submit("job-1", 7, b"leaf", EVIDENCE, at(0)))


def test_three_others_are_asked_whom_the_job_picks() -> None:
    letters = ask(room(ME))
    assert [letter.to for letter in letters] == list(rendezvous("job-1", NODES[1:], 3))
    assert len({letter.to for letter in letters}) == 3


def test_everybody_picks_the_same_and_a_loss_changes_only_what_is_lost() -> None:
    picked = rendezvous("job-9", NODES, 3)
    assert rendezvous("job-9", reversed(NODES), 3) == picked
    left = [node for node in NODES if node != picked[1]]
    assert set(picked) - {picked[1]} <= set(rendezvous("job-9", left, 3))


def test_assents_and_objections_are_gathered_under_their_signatures() -> None:
    author = room(ME)
    effects: list[Effect] = []
    for place, letter in enumerate(ask(author)):
        complaint = Complaint("s1", "the board cannot draw that") if place == 0 else None
        said = room(letter.to, complaint).receive(ME, letter.message, at(1))
        assert any(isinstance(each, Announce) for each in said) == (place == 0)
        effects += author.receive(letter.to, sent(said)[0].message, at(1))
    fact = judged(effects)
    assert (fact.index, len(fact.assents)) == (7, 2)
    assert [(each.signal, each.why) for each in fact.objections] == [
        ("s1", "the board cannot draw that")
    ]


def test_a_validator_logs_what_it_objects_to() -> None:
    letter = ask(room(ME))[0]
    said = room(letter.to, Complaint("c1", "no")).receive(ME, letter.message, at(1))
    facts = [each.message for each in said if isinstance(each, Announce)]
    assert [type(fact) for fact in facts] == [Objected]


def test_who_is_silent_is_not_waited_for() -> None:
    author = room(ME)
    ask(author)
    assert author.next_deadline() == ANSWER_S
    fact = judged(author.tick(at(ANSWER_S)))
    assert (fact.assents, fact.objections) == ((), ())
    assert author.next_deadline() is None


def test_an_answer_under_another_name_or_key_is_refused() -> None:
    author = room(ME)
    first, second, *_ = ask(author)
    answer = sent(room(first.to).receive(ME, first.message, at(1)))[0].message
    assert isinstance(answer, Assent)
    with pytest.raises(WireError):
        author.receive(second.to, answer, at(1))
    bent = Assent(answer.origin, answer.index, second.to, answer.signature)
    with pytest.raises(WireError):
        author.receive(second.to, bent, at(1))
    long = Objection(answer.origin, answer.index, first.to, "s1", "x" * 1_000, b"s" * 64)
    with pytest.raises(WireError, match="too long"):
        author.receive(first.to, long, at(1))


def test_decisions_of_another_log_are_not_judged() -> None:
    batch = DecisionBatch(origin_of(MESH, NODES[2]), 0, b"leaf", ())
    with pytest.raises(WireError):
        room(NODES[1]).receive(ME, batch, at(0))


def test_a_batch_that_no_message_holds_is_said_to_go_unvalidated() -> None:
    effects = room(ME).submit("job-1", 1, b"x" * (MAX_BATCH_BYTES + 1), (), at(0))
    assert [type(each) for each in effects] == [Notice]


def test_a_node_alone_judges_at_once_with_nobody() -> None:
    alone = Validation(
        me=ME, mesh=MESH, identity=KEYS[ME], workers=lambda: (ME,), key_of=lambda _: None,
        recheck=believe_all,
    )  # fmt: skip
    assert judged(alone.submit("job-1", 1, b"leaf", (), at(0))) == Judged(1, (), ())
