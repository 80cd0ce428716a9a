import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import (
    BadSignature,
    InvariantBroken,
    Malformed,
    NotAllowed,
    StorageCorrupt,
    UsageError,
)
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import CurveKey, NodeKeys, SigningKey
from qallow_agent.base.machine import (
    Admit,
    Announce,
    Effect,
    Expel,
    Instant,
    Knock,
    Persist,
    Reply,
    Send,
)
from qallow_agent.base.message import Failure, Message
from qallow_agent.base.notice import Notice
from qallow_agent.mesh.trust.acquaintances import Acquaintance
from qallow_agent.mesh.trust.certificates import bind_curve, certificate_bytes
from qallow_agent.mesh.trust.invites import Invitation, decode_invitation
from qallow_agent.mesh.trust.papers import Papers
from qallow_agent.mesh.trust.standing import Standing, accept_welcome, decode_standing, rebind
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.facts import MemberDown, MemberHeardOf, MemberMet, MemberUp
from qallow_agent.mesh.wire.kinds import (
    Credential,
    Hello,
    Incarnation,
    JoinWelcome,
    MemberRecord,
    MemberState,
    Renew,
    Renewed,
    Revoked,
    Role,
)

if TYPE_CHECKING:
    from tests.unit.mesh.trust.conftest import Box, Town

T = TypeVar("T")
DAY_S = 86_400.0


def at(seconds: float = 0.0) -> Instant:
    return Instant(100.0 + seconds, int((1_800_000_000 + seconds) * 1e9))


def of(kind: type[T], effects: Iterable[object]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def met(effects: Iterable[Effect]) -> list[MemberMet]:
    return [e.message for e in of(Announce, effects) if isinstance(e.message, MemberMet)]


def events(effects: Iterable[Effect]) -> list[str]:
    return [notice.event for notice in of(Notice, effects)]


def hello_of(
    box: "Box",
    to: NodeId,
    standing: Standing | None = None,
    contact: Contact | None = None,
    **changes: Any,
) -> Hello:
    papers = Papers(box.keys, standing or box.standing, contact or box.contact, box.settings)
    return msgspec.structs.replace(papers.hello(to, answer=False), **changes)


def up(box: "Box") -> MemberUp:
    record = MemberRecord(
        box.node, MemberState.ALIVE, Incarnation(1), box.name, box.contact, box.keys.curve.public
    )
    return MemberUp(record)


# --- joining --------------------------------------------------------------------------------------


def test_an_invited_stranger_becomes_a_member_with_the_invited_roles(town: "Town") -> None:
    box = town.join("beta", zone="edge")
    assert box.standing.certificate.roles == (Role.WORKER, Role.SUBMITTER)
    assert box.standing.certificate.zone == "edge"
    assert box.standing.keyring == town.founder.standing.keyring
    assert box.standing.sponsor.credential.certificate.node == town.founder.node


def test_the_use_of_an_invite_is_kept_before_the_welcome_leaves(town: "Town") -> None:
    effects = town.founder.take("@door/1", town.request("beta", town.founder.invite()))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Reply)


def test_a_joiner_whose_welcome_was_lost_may_ask_again(town: "Town") -> None:
    request = town.request("beta", town.founder.invite())
    assert isinstance(town.founder.knocked(request), JoinWelcome)
    assert isinstance(town.founder.knocked(request), JoinWelcome)


def test_a_member_with_the_issuing_role_lets_others_in(town: "Town") -> None:
    issuer = town.join("beta", roles=("worker", "issuer"))
    guest = town.join("gamma", host=issuer)
    assert guest.standing.credential.issuer == issuer.standing.certificate
    assert met(town.meet(guest, town.founder))


def test_invites_survive_a_restart_of_their_host(town: "Town") -> None:
    token = town.founder.invite()
    town.founder.start()
    assert isinstance(town.founder.knocked(town.request("beta", token)), JoinWelcome)


def test_an_invite_names_the_hosts_it_was_asked_for(town: "Town") -> None:
    invitation = decode_invitation(town.founder.invite(hosts=("203.0.113.9",)))
    assert invitation.contact.hosts == ("203.0.113.9",)
    assert invitation.contact.door == 7001


def test_two_invites_of_the_same_instant_differ(town: "Town") -> None:
    assert town.founder.invite() != town.founder.invite()


@pytest.mark.parametrize(
    "wrong",
    [
        {"roles": ("workr",)},
        {"roles": ()},
        {"uses": 0},
        {"uses": 10**6},
        {"lifetime_s": 0.0},
        {"lifetime_s": 1e12},
        {"lifetime_s": float("nan")},
        {"zone": "a/b"},
        {"hosts": ("a;b",)},
    ],
)
def test_a_senseless_invite_is_refused(town: "Town", wrong: Any) -> None:
    with pytest.raises(UsageError):
        town.founder.invite(**wrong)


def test_a_misspelt_role_is_answered_with_the_nearest(town: "Town") -> None:
    with pytest.raises(UsageError) as caught:
        town.founder.invite(roles=("workr",))
    assert "worker" in caught.value.hint


def test_a_member_without_the_issuing_role_cannot_invite(town: "Town") -> None:
    with pytest.raises(NotAllowed):
        town.join("beta").invite()


def test_an_issuer_cannot_invite_another_issuer(town: "Town") -> None:
    with pytest.raises(UsageError):
        town.join("beta", roles=("issuer",)).invite(roles=("issuer",))


# --- attacks on joining ---------------------------------------------------------------------------


def refused(answer: Message, words: str) -> bool:
    assert isinstance(answer, Failure)
    assert words in answer.message
    return answer.code == "join-refused"


def test_an_expired_invite_is_refused(town: "Town") -> None:
    request = town.request("beta", town.founder.invite(lifetime_s=60.0))
    assert refused(town.founder.knocked(request, 61.0), "expired 1 s ago")


def test_a_reused_invite_is_refused(town: "Town") -> None:
    token = town.founder.invite()
    town.founder.knocked(town.request("beta", token))
    assert refused(town.founder.knocked(town.request("gamma", token)), "used up")


def test_a_made_up_secret_is_refused(town: "Town") -> None:
    request = msgspec.structs.replace(town.request("beta", town.founder.invite()), secret=bytes(16))
    assert refused(town.founder.knocked(request), "never gave out")


def test_a_revoked_node_cannot_join_again(town: "Town") -> None:
    box = town.join("beta")
    town.founder.do(town.founder.door.revoke(box.node, "stolen", at()))
    assert refused(town.founder.knocked(town.request("beta", town.founder.invite())), "revoked")


def test_a_copy_of_the_host_cannot_join_it(town: "Town") -> None:
    assert refused(town.founder.knocked(town.request("alpha", town.founder.invite())), "own node")


def test_a_joiner_with_a_borrowed_curve_key_is_refused(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    keys = town.keys("gamma")
    binding = bind_curve(keys.identity, beta.keys.curve.public, 1, 1_800_000_000)
    request = msgspec.structs.replace(town.request("gamma", town.founder.invite()), binding=binding)
    assert refused(town.founder.knocked(request), "already belongs to")


def test_a_joiner_with_the_hosts_curve_key_is_refused(town: "Town") -> None:
    thief = NodeKeys(town.keys("beta").identity, town.founder.keys.curve)
    binding = bind_curve(thief.identity, thief.curve.public, 1, 1_800_000_000)
    request = msgspec.structs.replace(town.request("beta", town.founder.invite()), binding=binding)
    assert refused(town.founder.knocked(request), "host's own CURVE key")


@pytest.mark.parametrize("change", [{"name": "a b"}, {"node_key": bytes(31)}])
def test_a_joiner_of_odd_shape_is_refused(town: "Town", change: dict[str, Any]) -> None:
    request = msgspec.structs.replace(town.request("beta", town.founder.invite()), **change)
    assert town.founder.knocked(request).code == "malformed"


def test_a_joiner_with_an_unbound_curve_key_is_refused(town: "Town") -> None:
    request = town.request("beta", town.founder.invite())
    binding = msgspec.structs.replace(request.binding, curve_key=bytes(32))
    answer = town.founder.knocked(msgspec.structs.replace(request, binding=binding))
    assert answer.code == "bad-signature"


@pytest.mark.parametrize(("spoken", "side"), [((7, 9), "the host"), ((0, 0), "the joining node")])
def test_a_joiner_of_another_protocol_is_told_which_side_to_upgrade(
    town: "Town", spoken: tuple[int, int], side: str
) -> None:
    request = msgspec.structs.replace(town.request("beta", town.founder.invite()), protocol=spoken)
    answer = town.founder.knocked(request)
    assert answer.code == "version-mismatch"
    assert answer.hint.endswith(side)


def test_a_refused_joiner_does_not_use_up_the_invite(town: "Town") -> None:
    token = town.founder.invite()
    good = town.request("beta", token)
    assert isinstance(town.founder.knocked(msgspec.structs.replace(good, protocol=(9, 9))), Failure)
    assert isinstance(town.founder.knocked(good), JoinWelcome)


def test_a_join_request_from_a_member_instead_of_the_door_is_ignored(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    assert town.founder.take(beta.node, town.request("gamma", town.founder.invite())) == []


# --- the welcome ----------------------------------------------------------------------------------


def welcomed(town: "Town", name: str = "beta", host: "Box | None" = None) -> tuple[Any, Invitation]:
    host = host or town.founder
    token = host.invite()
    return host.knocked(town.request(name, token)), decode_invitation(token)


def test_a_welcome_from_another_mesh_is_refused(town: "Town") -> None:
    _, invitation = welcomed(town)
    welcome, _ = welcomed(town, host=town.found("alpha", "other"))
    with pytest.raises(Exception, match="another mesh"):
        accept_welcome(welcome, invitation, town.keys("beta"), 1_800_000_000)


def test_a_welcome_from_another_host_is_refused(town: "Town") -> None:
    issuer = town.join("issuer", roles=("issuer",))
    _, invitation = welcomed(town)
    welcome, _ = welcomed(town, host=issuer)
    with pytest.raises(Exception, match="another host"):
        accept_welcome(welcome, invitation, town.keys("beta"), 1_800_000_000)


def test_a_welcome_for_another_node_is_refused(town: "Town") -> None:
    welcome, invitation = welcomed(town)
    with pytest.raises(Exception, match="another node"):
        accept_welcome(welcome, invitation, town.keys("gamma"), 1_800_000_000)


def test_a_welcome_that_binds_another_curve_key_is_refused(town: "Town") -> None:
    welcome, invitation = welcomed(town)
    other = NodeKeys(town.keys("beta").identity, CurveKey(bytes(range(32))))
    with pytest.raises(BadSignature, match="another CURVE key"):
        accept_welcome(welcome, invitation, other, 1_800_000_000)


def test_a_welcome_with_an_odd_mesh_name_is_refused(town: "Town") -> None:
    welcome, invitation = welcomed(town)
    odd = msgspec.structs.replace(welcome, mesh_name="\x1b[2J")
    with pytest.raises(Malformed):
        accept_welcome(odd, invitation, town.keys("beta"), 1_800_000_000)


def test_a_welcome_without_a_keyring_is_refused(town: "Town") -> None:
    welcome, invitation = welcomed(town)
    bare = msgspec.structs.replace(welcome, keyring=())
    with pytest.raises(Exception, match="keyring"):
        accept_welcome(bare, invitation, town.keys("beta"), 1_800_000_000)


# --- meeting --------------------------------------------------------------------------------------


def test_two_members_that_hear_of_each_other_admit_each_other(town: "Town") -> None:
    beta = town.join("beta")
    effects = town.meet(beta, town.founder)
    assert of(Admit, effects) == [
        Admit(town.founder.node, town.founder.keys.curve.public, town.founder.contact)
    ]
    assert met(effects) == [MemberMet(town.founder.standing.credential, town.founder.contact)]
    assert of(Admit, town.founder.seen) == [Admit(beta.node, beta.keys.curve.public, beta.contact)]
    assert town.founder.door.roles_of(beta.node) == (Role.WORKER, Role.SUBMITTER)
    assert town.founder.door.credential_of(beta.node) == beta.standing.credential


def test_a_member_already_met_is_not_knocked_at_again(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    assert beta.hears_of(town.founder, 1.0) == []


def test_a_member_that_went_down_is_knocked_at_when_heard_of_again(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    beta.take(beta.node, MemberDown(town.founder.node, left=False))
    assert of(Knock, beta.hears_of(town.founder, 1.0))


def test_a_member_at_a_new_contact_is_knocked_at(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    moved = msgspec.structs.replace(town.founder.contact, hosts=("10.0.0.9",))
    fact = MemberHeardOf(town.founder.node, moved, town.founder.keys.curve.public)
    knocks = of(Knock, beta.take(beta.node, fact, 1.0))
    assert [knock.contact for knock in knocks] == [moved]


def test_a_fresh_member_knocks_at_its_sponsor_first(town: "Town") -> None:
    beta = town.join("beta")
    knocks = of(Knock, beta.do(beta.door.tick(at())))
    assert [knock.contact for knock in knocks] == [town.founder.contact]
    assert knocks[0].door_key == town.founder.keys.curve.public
    assert knocks[0].reply_as == f"@trust/{town.founder.node}"


def test_members_met_before_a_restart_are_remembered_and_knocked_at(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    town.founder.start()
    assert town.founder.door.roles_of(beta.node) == (Role.WORKER, Role.SUBMITTER)
    knocks = of(Knock, town.founder.do(town.founder.door.tick(at(9.0))))
    assert [knock.contact for knock in knocks] == [beta.contact]


def test_meeting_twice_keeps_the_file_once(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    hello = hello_of(beta, town.founder.node)
    assert of(Persist, town.founder.take("@door/2", hello)) == []


def test_an_unanswered_knock_is_repeated_ever_more_patiently_then_rests(town: "Town") -> None:
    beta = town.join("beta")
    seconds, waits = 0.0, []
    beta.hears_of(town.founder)
    for _ in range(town.settings.knock_tries - 1):
        failure = Failure("peer-lost", "no answer")
        effects = beta.take(f"@trust/{town.founder.node}", failure, seconds)
        assert events(effects) == ["trust.unanswered"]
        due = beta.door._greeter.next_deadline() - 100.0
        waits.append(due - seconds)
        seconds = due + 0.001
        assert of(Knock, beta.do(beta.door.tick(at(seconds))))
    beta.take(f"@trust/{town.founder.node}", Failure("peer-lost", "no answer"), seconds)
    assert beta.door._greeter.next_deadline() is None
    assert waits == sorted(waits)


def test_a_rested_node_that_is_named_again_is_knocked_at_after_its_backoff(
    town: "Town",
) -> None:
    beta = town.join("beta")
    beta.door.tick(at())
    for _ in range(town.settings.knock_tries):
        beta.door._greeter._knocks.fail(town.founder.node, 100.0)
    assert beta.hears_of(town.founder, 0.1) == []
    assert of(Knock, beta.hears_of(town.founder, 60.0))


def test_a_knock_whose_outcome_never_comes_counts_as_failed(town: "Town") -> None:
    beta = town.join("beta")
    beta.hears_of(town.founder)
    beta.door.tick(at(7.0))
    assert beta.door._greeter._knocks.pending(town.founder.node) is None


def test_only_some_knocks_are_under_way_at_once(town: "Town") -> None:
    beta = town.join("beta")
    others = [town.found(f"box{i}") for i in range(20)]
    knocks = [knock for other in others for knock in of(Knock, beta.hears_of(other))]
    assert len(knocks) == town.settings.knocks_in_flight


def test_hearsay_of_a_contact_that_cannot_be_dialled_is_noted_and_dropped(town: "Town") -> None:
    odd = msgspec.structs.replace(town.founder.contact, hosts=("a;tcp://b",))
    fact = MemberHeardOf(town.founder.node, odd, bytes(32))
    assert events(town.join("beta").take("x" * 26, fact)) == []
    beta = town.join("gamma")
    assert events(beta.take(beta.node, fact)) == ["trust.refusal"]


def test_an_answer_nobody_asked_for_is_ignored(town: "Town") -> None:
    beta = town.join("beta")
    hello = hello_of(town.founder, beta.node, answer=True)
    assert beta.take(f"@trust/{town.founder.node}", hello) == []
    assert beta.take(f"@trust/{town.founder.node}", Failure("peer", "x")) == []


# --- attacks on meeting ---------------------------------------------------------------------------


def test_a_forged_certificate_is_refused(town: "Town") -> None:
    beta = town.join("beta")
    forged = msgspec.structs.replace(beta.standing.certificate, roles=(Role.OWNER,))
    credential = msgspec.structs.replace(beta.standing.credential, certificate=forged)
    standing = msgspec.structs.replace(beta.standing, credential=credential)
    assert town.founder.knocked(hello_of(beta, town.founder.node, standing)).code == "bad-signature"


def test_a_member_of_another_mesh_is_refused(town: "Town") -> None:
    other = town.found("zeta", "other")
    assert refused(town.founder.knocked(hello_of(other, town.founder.node)), "is for mesh")


def test_a_hello_meant_for_another_node_is_refused(town: "Town") -> None:
    beta = town.join("beta")
    assert town.founder.knocked(hello_of(beta, beta.node)).code == "bad-signature"


def test_a_hello_with_a_bent_contact_is_refused(town: "Town") -> None:
    hello = hello_of(town.join("beta"), town.founder.node)
    bent = msgspec.structs.replace(hello, contact=town.contact("evil"))
    assert town.founder.knocked(bent).code == "bad-signature"


def test_a_revoked_node_is_refused(town: "Town") -> None:
    beta = town.join("beta")
    town.founder.do(town.founder.door.revoke(beta.node, "stolen", at()))
    assert refused(town.founder.knocked(hello_of(beta, town.founder.node)), "revoked")


def test_an_expired_member_is_refused(town: "Town") -> None:
    answer = town.founder.knocked(hello_of(town.join("beta"), town.founder.node), 91 * DAY_S)
    assert refused(answer, "expired")


def test_an_issuer_without_the_role_is_refused(town: "Town") -> None:
    beta = town.join("beta")
    gamma = town.join("gamma")
    fake = msgspec.structs.replace(gamma.standing.certificate, issuer=beta.node)
    fake = msgspec.structs.replace(fake, signature=beta.keys.identity.sign(certificate_bytes(fake)))
    credential = Credential(fake, gamma.standing.credential.binding, beta.standing.certificate)
    standing = msgspec.structs.replace(gamma.standing, credential=credential)
    answer = town.founder.knocked(hello_of(gamma, town.founder.node, standing))
    assert refused(answer, "does not hold the issuing role")


def test_a_member_with_the_curve_key_of_another_is_refused(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(beta, town.founder)
    thief = NodeKeys(gamma.keys.identity, beta.keys.curve)
    standing = rebind(gamma.standing, thief, 2, 1_800_000_000)
    answer = town.founder.knocked(hello_of(gamma, town.founder.node, standing))
    assert refused(answer, "already belongs to")


def test_a_member_with_our_own_curve_key_is_refused(town: "Town") -> None:
    gamma = town.join("gamma")
    thief = NodeKeys(gamma.keys.identity, town.founder.keys.curve)
    standing = rebind(gamma.standing, thief, 2, 1_800_000_000)
    answer = town.founder.knocked(hello_of(gamma, town.founder.node, standing))
    assert refused(answer, "our own CURVE key")


def test_an_older_boot_of_a_member_is_refused(town: "Town") -> None:
    beta = town.join("beta")
    newer = rebind(beta.standing, beta.keys, 5, 1_800_000_000)
    town.founder.knocked(hello_of(beta, town.founder.node, newer))
    assert refused(town.founder.knocked(hello_of(beta, town.founder.node)), "boot 1")


def test_a_rotated_curve_key_replaces_the_old_one(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    rotated = NodeKeys(beta.keys.identity, CurveKey(bytes(range(32))))
    standing = rebind(beta.standing, rotated, 2, 1_800_000_000)
    effects = town.founder.take("@door/3", hello_of(beta, town.founder.node, standing))
    assert of(Admit, effects) == [Admit(beta.node, rotated.curve.public, beta.contact)]


def test_somebody_else_behind_the_door_is_refused(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    gamma.hears_of(town.founder)
    answer = hello_of(beta, gamma.node, answer=True)
    effects = gamma.take(f"@trust/{town.founder.node}", answer)
    assert events(effects) == ["trust.refusal"]
    assert not of(Admit, effects)


def test_a_door_that_shows_another_curve_key_than_it_has_is_refused(town: "Town") -> None:
    gamma = town.join("gamma")
    gamma.hears_of(town.founder)
    rotated = NodeKeys(town.founder.keys.identity, CurveKey(bytes(range(32))))
    standing = rebind(town.founder.standing, rotated, 2, 1_800_000_000)
    papers = Papers(rotated, standing, town.founder.contact, town.settings)
    answer = papers.hello(gamma.node, answer=True)
    effects = gamma.take(f"@trust/{town.founder.node}", answer)
    assert "another CURVE key" in of(Notice, effects)[0].facts["why"]


def test_what_is_no_answer_to_a_knock_is_ignored(town: "Town") -> None:
    gamma = town.join("gamma")
    gamma.hears_of(town.founder)
    assert gamma.take(f"@trust/{town.founder.node}", Revoked(())) == []


def test_our_own_knock_at_our_own_door_is_no_clone(town: "Town") -> None:
    effects = town.founder.take("@door/1", hello_of(town.founder, town.founder.node))
    assert events(effects) == []
    assert of(Reply, effects)[0].message.code == "join-refused"


def test_a_full_memory_of_members_refuses_more(town: "Town") -> None:
    town.founder.settings = dataclasses.replace(town.settings, known_max=2)
    town.founder.start()
    for name in ("beta", "gamma"):
        assert isinstance(town.founder.knocked(hello_of(town.join(name), town.founder.node)), Hello)
    answer = town.founder.knocked(hello_of(town.join("delta"), town.founder.node))
    assert refused(answer, "already knows 2 members")


def test_an_impossible_acquaintance_is_a_broken_invariant(town: "Town") -> None:
    own = Acquaintance(town.founder.standing.credential, town.founder.contact)
    town.founder.door._known._known[town.founder.node] = own
    with pytest.raises(InvariantBroken):
        town.founder.door.check()


def test_we_know_our_own_credential_and_roles(town: "Town") -> None:
    door = town.founder.door
    assert door.credential_of(town.founder.node) == town.founder.standing.credential
    assert Role.OWNER in door.roles_of(town.founder.node)


def test_a_fact_of_no_concern_is_ignored(town: "Town") -> None:
    assert town.founder.take(town.founder.node, Revoked(())) == []
    beta = town.join("beta")
    town.meet(beta, town.founder)
    assert town.founder.take(beta.node, Failure("peer", "x")) == []


def test_a_clone_is_refused_and_both_boxes_are_named(town: "Town") -> None:
    there = town.contact("elsewhere")
    copy = rebind(town.founder.standing, town.founder.keys, 2, 1_800_000_000)
    effects = town.founder.take(
        "@door/1", hello_of(town.founder, town.founder.node, copy, contact=there)
    )
    notice = of(Notice, effects)[0]
    assert (notice.event, notice.level) == ("trust.clone", "error")
    assert notice.facts["here"] == "alpha.example:7000"
    assert notice.facts["there"] == "elsewhere.example:7000"
    assert of(Reply, effects)[0].message.code == "join-refused"


def test_hearing_of_ourselves_leads_to_nothing(town: "Town") -> None:
    assert town.founder.hears_of(town.founder) == []


def test_a_stranger_from_inside_the_mesh_is_ignored(town: "Town") -> None:
    stranger = town.found("zeta", "other")
    message = Renew(stranger.standing.credential)
    assert town.founder.take(stranger.node, message) == []
    assert town.founder.door.roles_of(stranger.node) == ()
    assert town.founder.door.credential_of(stranger.node) is None


def test_what_is_said_at_the_door_but_is_no_knock_is_ignored(town: "Town") -> None:
    assert town.founder.take("@door/1", Failure("peer", "hm")) == []
    assert town.founder.take("@door/1", Revoked(())) == []


# --- renewal --------------------------------------------------------------------------------------


def renewed_at(town: "Town", box: "Box", seconds: float) -> list[Effect]:
    asked = of(Send, box.do(box.door.tick(at(seconds))))
    assert [type(send.message) for send in asked] == [Renew]
    answers = of(Send, town.founder.take(box.node, asked[0].message, seconds))
    return box.take(asked[0].to, answers[0].message, seconds)


def test_a_member_renews_at_half_of_its_life_and_shows_it_to_everyone(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    assert of(Send, beta.do(beta.door.tick(at(44 * DAY_S)))) == []
    effects = renewed_at(town, beta, 46 * DAY_S)
    assert beta.door.standing.certificate.expires_s == 1_800_000_000 + 136 * 86_400
    assert decode_standing(beta.kept["trust/standing"]) == beta.door.standing
    assert [knock.contact for knock in of(Knock, effects)] == [town.founder.contact]
    town.carry(beta, effects, 46 * DAY_S)
    assert town.founder.door.credential_of(beta.node) == beta.door.standing.credential


def test_a_member_renewed_by_an_issuer_carries_its_certificate(town: "Town") -> None:
    issuer = town.join("issuer", roles=("issuer",))
    beta = town.join("beta")
    town.meet(beta, issuer)
    renew = Renew(beta.standing.credential)
    answer = of(Send, issuer.take(beta.node, renew, DAY_S))[0].message
    beta.take(issuer.node, answer, DAY_S)
    assert answer.certificate.issuer == issuer.node
    assert answer.certificate.expires_s == issuer.standing.certificate.expires_s
    assert beta.door.standing.credential.issuer is None, "not longer than what we have"


def test_the_founder_renews_itself(town: "Town") -> None:
    town.founder.do(town.founder.door.tick(at(46 * DAY_S)))
    assert town.founder.door.standing.certificate.issued_s == 1_800_000_000 + 46 * 86_400


def test_a_member_that_finds_no_issuer_says_so_louder_as_the_end_nears(town: "Town") -> None:
    beta = town.join("beta")
    beta.do(beta.door.tick(at(46 * DAY_S)))
    beta.do(beta.door.tick(at(80 * DAY_S)))
    levels = [n.level for n in of(Notice, beta.seen) if n.event == "trust.unrenewed"]
    assert levels == ["debug", "warning"]


def test_a_member_cannot_renew_another(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(beta, town.founder)
    effects = town.founder.take(beta.node, Renew(gamma.standing.credential))
    assert events(effects) == ["trust.refusal"]


def test_a_renewal_that_changes_our_roles_is_refused(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    other = town.join("beta", roles=("observer",), seconds=9.0)
    effects = beta.take(town.founder.node, Renewed(other.standing.certificate), 9.0)
    assert events(effects) == ["trust.refusal"]
    assert beta.door.standing == beta.standing


def test_an_expired_member_is_let_go_but_not_banned(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    effects = town.founder.do(town.founder.door.tick(at(91 * DAY_S)))
    assert Expel(beta.node) in effects
    assert town.founder.door.roles_of(beta.node) == ()
    assert f"trust/known/{beta.node}" not in town.founder.kept


# --- revocation -----------------------------------------------------------------------------------


def test_a_revoked_member_is_banned_told_about_and_its_work_moves(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(beta, town.founder)
    town.meet(gamma, town.founder)
    effects = town.founder.do(town.founder.door.revoke(beta.node, "stolen", at()))
    assert Expel(beta.node, ban=True) in effects
    assert Announce(MemberDown(beta.node, left=True)) in effects
    assert [send.to for send in of(Send, effects)] == [gamma.node]
    assert town.founder.door.is_revoked(beta.node)
    assert town.founder.door.roles_of(beta.node) == ()


def test_a_revocation_travels_once_and_survives_a_restart(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(gamma, town.founder)
    effects = town.founder.do(town.founder.door.revoke(beta.node, "stolen", at()))
    message = of(Send, effects)[0].message
    assert Expel(beta.node, ban=True) in gamma.take(town.founder.node, message)
    assert gamma.take(town.founder.node, message) == []
    gamma.start()
    assert gamma.door.is_revoked(beta.node)
    assert Expel(beta.node, ban=True) in gamma.do(gamma.door.tick(at()))


def test_a_member_that_comes_up_is_told_every_revocation(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.founder.do(town.founder.door.revoke(beta.node, "stolen", at()))
    town.meet(gamma, town.founder)
    sends = of(Send, town.founder.take(town.founder.node, up(gamma)))
    assert [(send.to, type(send.message)) for send in sends] == [(gamma.node, Revoked)]


def test_an_issuer_revokes_and_others_believe_it_without_knowing_the_issuer(town: "Town") -> None:
    issuer = town.join("issuer", roles=("issuer",))
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(gamma, town.founder)
    issuer.do(issuer.door.revoke(beta.node, "stolen", at()))
    message = Revoked(issuer.door._revoked.all())
    assert Expel(beta.node, ban=True) in gamma.take(town.founder.node, message)


def test_a_forged_revocation_is_refused_whole(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(gamma, town.founder)
    town.founder.do(town.founder.door.revoke(beta.node, "stolen", at()))
    good = town.founder.door._revoked.all()[0]
    forged = msgspec.structs.replace(good, node=town.founder.node)
    effects = gamma.take(town.founder.node, Revoked((good, forged)))
    assert events(effects) == ["trust.refusal"]
    assert not gamma.door.is_revoked(beta.node)


def test_a_revocation_by_a_member_without_the_role_is_refused(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(gamma, town.founder)
    town.founder.do(town.founder.door.revoke(beta.node, "x", at()))
    good = town.founder.door._revoked.all()[0]
    fake = msgspec.structs.replace(good, issuer=gamma.node, authority=gamma.standing.certificate)
    assert events(gamma.take(town.founder.node, Revoked((fake,)))) == ["trust.refusal"]


def test_a_member_without_the_issuing_role_cannot_revoke(town: "Town") -> None:
    beta = town.join("beta")
    with pytest.raises(NotAllowed):
        beta.door.revoke(town.founder.node, "revenge", at())


def test_nobody_revokes_itself_or_a_typo(town: "Town") -> None:
    for node in (town.founder.node, "beta"):
        with pytest.raises(UsageError):
            town.founder.door.revoke(node, "", at())


def test_a_revoked_node_learns_of_it(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    town.founder.do(town.founder.door.revoke(beta.node, "stolen", at()))
    effects = beta.take(town.founder.node, Revoked(town.founder.door._revoked.all()))
    assert [(n.event, n.level) for n in of(Notice, effects)] == [("trust.revoked", "error")]


# --- keeping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trust/invites", "trust/revoked", "trust/known/" + "a" * 26])
def test_a_corrupt_file_is_named(town: "Town", name: Any) -> None:
    town.founder.kept[name] = b"\xff\x00junk"
    with pytest.raises(StorageCorrupt, match=name):
        town.founder.start()


def test_a_known_file_under_anothers_name_is_corrupt(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    town.founder.kept["trust/known/" + "a" * 26] = town.founder.kept[f"trust/known/{beta.node}"]
    with pytest.raises(StorageCorrupt, match="it holds node"):
        town.founder.start()


def test_forgetting_the_mesh_deletes_everything_kept(town: "Town") -> None:
    beta = town.join("beta")
    town.meet(beta, town.founder)
    town.founder.invite()
    town.founder.do(town.founder.door.tick(at()))
    town.founder.do(town.founder.door.forget())
    assert town.founder.kept == {}


def test_old_invites_are_pruned_a_day_after_their_end(town: "Town") -> None:
    town.founder.invite(lifetime_s=60.0)
    town.founder.do(town.founder.door.tick(at(60.0 + DAY_S + 1)))
    assert town.founder.door.outstanding_invites() == ()


def test_the_first_tick_is_due_at_once_and_the_next_a_sweep_later(town: "Town") -> None:
    door = town.founder.door
    assert door.next_deadline() == 0.0
    door.tick(at())
    assert door.next_deadline() == 100.0 + town.settings.sweep_s


def test_no_secret_of_a_key_shows_in_its_repr(town: "Town") -> None:
    assert repr(town.founder.keys.identity.seed) not in repr(town.founder.keys)
    assert isinstance(SigningKey(bytes(32)).public, bytes)


def test_a_hello_and_a_welcome_fit_a_letter(town: "Town") -> None:
    codec = MeshCodec({"door.hello": Hello, "door.welcome": JoinWelcome})
    beta = town.join("beta")
    hello = hello_of(beta, town.founder.node)
    letter = codec.decode(codec.encode(hello, beta.node, Stamp(1, 0)))
    assert letter.message == hello


def test_a_revoked_sponsor_is_not_knocked_at(town: "Town") -> None:
    issuer = town.join("issuer", roles=("issuer",))
    beta = town.join("beta", host=issuer)
    town.meet(beta, town.founder)
    effects = town.founder.do(town.founder.door.revoke(issuer.node, "stolen", at()))
    beta.take(town.founder.node, of(Send, effects)[0].message)
    assert not of(Knock, beta.do(beta.door.tick(at(1.0))))


def test_a_renewed_member_does_not_show_itself_to_those_who_are_down(town: "Town") -> None:
    beta, gamma = town.join("beta"), town.join("gamma")
    town.meet(beta, town.founder)
    town.meet(gamma, town.founder)
    town.founder.door.tick(at())
    town.founder.take(town.founder.node, MemberDown(gamma.node, left=False))
    effects = town.founder.door.tick(at(46 * DAY_S))
    assert [knock.contact for knock in of(Knock, effects)] == [beta.contact]
