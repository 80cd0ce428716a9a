"""Every interleaving of a small committee: no two inconsistent certificates, unless a rule goes.

Four members of whom one lies: the owner of a log that shows two histories, cosigns everything and
says anything. The others decide with the very functions that witnesses run. The committee may
change once to one with two newcomers; one member may be put back to where it began, as by a
backup. What is found safe here is safe for these histories; each broken rule must be noticed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import pytest

from qallow_agent.ledger.quorum import (
    MAX_MEMBERS,
    Code,
    Mark,
    Quorum,
    judge,
    may_sign,
    may_witness,
    merge,
)

LIAR = 0
HISTORIES = (Mark(1, b"x"), Mark(2, b"y"))
COMMITTEES = {1: (0, 1, 2, 3), 2: (0, 1, 4, 5)}
HONEST = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rules hold, and what may happen."""

    fewer: int = 0
    atomic: bool = True
    confirms: bool = True
    fences: bool = True
    asks_voters: bool = True
    binds_keys: bool = True
    takes_largest: bool = False
    asks_at_start: bool = False
    backups: int = 0
    changes: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """What one honest member remembers, and what it is about to do."""

    marks: tuple[Mark, ...] = ()
    confirmed: bool = False
    current: int = 0
    voted: int = 0
    checked: frozenset[Mark] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """The members, every signature that is out, and the votes that are."""

    members: tuple[Member, ...]
    told: frozenset[tuple[int, int, Mark]] = frozenset()
    cosigned: frozenset[tuple[int, int, Mark]] = frozenset()
    votes: frozenset[tuple[int, tuple[Mark, ...]]] = frozenset()
    backups: int = 0

    def member(self, number: int) -> Member:
        """Return an honest member."""
        return self.members[number - 1]

    def with_member(self, number: int, member: Member) -> "World":
        """Return the world in which one member changed."""
        at = number - 1
        return replace(self, members=(*self.members[:at], member, *self.members[at + 1 :]))


def first_world() -> World:
    """Return a world that has run for a while: version 1 is in force, its members are sure."""
    old = Member(current=1, confirmed=True)
    return World(tuple(old if number in COMMITTEES[1] else Member() for number in HONEST))


def steps(world: World, rules: Rules) -> Iterator[World]:
    """Yield every world that one step makes of this one."""
    for number in HONEST:
        member = world.member(number)
        if member.current:
            for history in HISTORIES:
                yield from offer(world, number, history, rules)
            for checked in HISTORIES:
                if checked in member.checked:
                    yield remember(world, number, checked, rules)
        if world.backups < rules.backups and number in COMMITTEES[1]:
            others = (world.member(each) for each in COMMITTEES[1] if each not in {LIAR, number})
            told = (mark for other in others for mark in other.marks)
            lost = Member(marks=merge(*told) if rules.asks_at_start else (), current=1)
            yield replace(world.with_member(number, lost), backups=world.backups + 1)
        if rules.changes:
            yield from change(world, number, rules)


def offer(world: World, number: int, history: Mark, rules: Rules) -> Iterator[World]:
    """The liar offers a head, from whichever size serves it; no proof joins two histories."""
    member = world.member(number)
    if not may_sign(member.current, member.current, member.voted if rules.fences else 0):
        return
    for old in (0, *(each.size for each in HISTORIES)):
        code, _ = judge(member.marks, old, history, proves=lambda _: False)
        if code is not Code.WITNESSED:
            continue
        if rules.atomic:
            yield remember(world, number, history, rules)
        else:
            yield world.with_member(number, replace(member, checked=member.checked | {history}))


def remember(world: World, number: int, history: Mark, rules: Rules) -> World:
    """A member remembers a head and answers what it may."""
    member = world.member(number)
    version = member.current
    told = world.told | {(number, version, history)}
    committee = COMMITTEES[version]
    others = 1 + sum((each, version, history) in told for each in committee if each != number)
    sure = not rules.confirms or may_witness(
        confirmed=member.confirmed, others=others, quorum=Quorum(len(committee))
    )
    after = replace(
        member,
        marks=(history,),
        confirmed=member.confirmed or sure,
        checked=member.checked - {history},
    )
    cosigned = world.cosigned | ({(number, version, history)} if sure else set())
    return replace(world.with_member(number, after), told=told, cosigned=cosigned)


def change(world: World, number: int, rules: Rules) -> Iterator[World]:
    """A member votes for version 2, or adopts it on the word of enough of version 1."""
    member = world.member(number)
    if number in COMMITTEES[1] and member.voted < 2:
        after = world.with_member(number, replace(member, voted=2))
        yield replace(after, votes=world.votes | {(number, member.marks)})
    if number not in COMMITTEES[2] or member.current == 2:
        return
    needed = Quorum(len(COMMITTEES[1])).needed
    for voters in combinations(sorted(world.votes, key=str), needed - 1):
        if len({voter for voter, _ in voters}) < needed - 1:
            continue
        told = [mark for _, marks in voters for mark in marks] if rules.asks_voters else []
        marks = merge(*told, *member.marks)
        if rules.takes_largest:
            marks = marks[-1:]
        yield world.with_member(number, replace(member, current=2, voted=2, marks=marks))


def certified(world: World, rules: Rules) -> set[Mark]:
    """Return every history that some version certifies; the liar signs whatever helps."""
    found = set()
    for version, committee in COMMITTEES.items():
        needed = Quorum(len(committee)).needed - rules.fewer
        for history in HISTORIES:
            signers = {LIAR} | {
                number
                for number, under, what in world.cosigned
                if what == history
                and number in committee
                and (under == version or not rules.binds_keys)
            }
            if len(signers) >= needed:
                found.add(history)
    return found


def explore(rules: Rules) -> tuple[int, World | None, bool]:
    """Return how many worlds there are, one that is inconsistent, and whether any certifies."""
    first = first_world()
    known, waiting, works = {first}, [first], False
    while waiting:
        for after in steps(waiting.pop(), rules):
            if after in known:
                continue
            good = certified(after, rules)
            works = works or bool(good)
            if len(good) > 1:
                return len(known), after, works
            known.add(after)
            waiting.append(after)
    return len(known), None, works


SAFE = {
    "one committee": Rules(),
    "a backup is restored": Rules(backups=1),
    "the committee changes": Rules(changes=True),
    "the committee changes and newcomers cosign at once": Rules(changes=True, confirms=False),
}

BROKEN = {
    "a quorum of one less": Rules(fewer=1),
    "checked and remembered in two steps": Rules(atomic=False),
    "a backup restored, nobody asked": Rules(backups=1, confirms=False),
    "a backup restored, everybody asked once": Rules(backups=1, confirms=False, asks_at_start=True),
    "old members go on signing": Rules(changes=True, confirms=False, fences=False),
    "newcomers ask nobody": Rules(changes=True, confirms=False, asks_voters=False),
    "keys bound to no version": Rules(changes=True, confirms=False, binds_keys=False),
    "newcomers take the largest head": Rules(changes=True, confirms=False, takes_largest=True),
}


@pytest.mark.parametrize("case", SAFE)
def test_no_two_inconsistent_heads_are_ever_certified(case: str) -> None:
    worlds, broken, works = explore(SAFE[case])
    assert broken is None
    assert works, "a model in which nothing is ever certified proves nothing"
    assert worlds > 20


@pytest.mark.parametrize("case", BROKEN)
def test_the_model_notices_when_a_rule_is_broken(case: str) -> None:
    _, broken, _ = explore(BROKEN[case])
    assert broken is not None


def test_a_backup_restored_right_before_a_change_of_committee_counts_as_a_faulty_member() -> None:
    """The known limit: what it forgot is missing in its vote, and it is one fault more than f."""
    _, broken, _ = explore(Rules(changes=True, backups=1))
    assert broken is not None


def test_every_size_of_committee_keeps_the_sums_on_which_the_rules_rest() -> None:
    for members in range(1, MAX_MEMBERS + 1):
        quorum = Quorum(members)
        assert 2 * quorum.needed - members > quorum.faulty
        assert members - quorum.faulty >= quorum.needed
        assert quorum.confirmations < members
        forgetful = members - 1 - quorum.confirmations + quorum.faulty + 1
        assert members == 1 or forgetful < quorum.needed
    assert [Quorum(members).needed for members in (1, 2, 3, 4, 5, 7)] == [1, 2, 2, 3, 4, 5]
    assert [Quorum(members).standing for members in (1, 2, 3, 4)] == [
        "solo", "crash-only, f = 0", "crash-only, f = 0", "f = 1",
    ]  # fmt: skip
