import random
from collections.abc import Mapping

import msgspec
import pytest

from qallow_agent.base.errors import (
    BadSignature,
    ConfigError,
    Malformed,
    NotAllowed,
    StorageCorrupt,
    TooLarge,
    UsageError,
)
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant, Persist, Send
from qallow_agent.base.notice import Notice
from qallow_agent.ethics.charter import Charter
from qallow_agent.ethics.clauses import Grant
from qallow_agent.ethics.hours import Hours
from qallow_agent.ethics.mesh_policy import (
    MAX_DOCUMENT_BYTES,
    MeshPolicy,
    built_in,
    sign_policy,
)
from qallow_agent.ethics.messages import (
    CharterChanged,
    PolicyDocument,
    PolicyOffer,
    PolicyWanted,
)
from qallow_agent.ethics.owner import OwnerPolicy
from qallow_agent.ethics.policy import Override, Policy, Ramp, policy_digest
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.ethics.spread import FANOUT, PATIENCE_S

KEY = SigningKey(bytes(32))
FORGER = SigningKey(bytes([1] * 32))
DAY_S = 86_400
MIDNIGHT_S = 1_795_046_400  # a Wednesday, 00:00 UTC
PEER, OTHER = NodeId("peer"), NodeId("other")


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, round((MIDNIGHT_S + seconds) * 1e9))


NOW = at(0)


def charter(
    kept: Mapping[str, bytes] | None = None,
    *,
    signs: bool = False,
    by_file: OwnerPolicy | None = None,
    **settings: str,
) -> Charter:
    return Charter(
        mesh_key=KEY.public,
        signer=KEY if signs else None,
        settings=EthicsSettings(**settings),  # type: ignore[arg-type]
        rng=random.Random(0),
        kept=kept or {},
        by_file=by_file,
    )


def version(number: int, **fields: object) -> MeshPolicy:
    return msgspec.structs.replace(built_in(), version=number, **fields)


def signed(policy: MeshPolicy, key: SigningKey = KEY) -> PolicyDocument:
    return PolicyDocument(*sign_policy(policy, key))


def kept_by(effects: list[Effect]) -> dict[str, bytes]:
    return {
        each.name: each.data
        for each in effects
        if isinstance(each, Persist) and each.data is not None
    }


def said(effects: list[Effect]) -> list[str]:
    return [
        each.message.what
        for each in effects
        if isinstance(each, Announce) and isinstance(each.message, CharterChanged)
    ]


def test_a_new_node_holds_the_built_in_policy_and_every_one_the_same() -> None:
    first, second = charter(), charter(preset="dedicated")
    assert first.digest == second.digest
    assert first.holds.mesh.version == 0
    assert first.effective(NOW).preset == "desktop"
    assert second.effective(NOW).preset == "dedicated"
    first.check()


def test_a_signed_later_policy_is_kept_before_it_is_announced_and_told_on() -> None:
    held = charter()
    held.member_up(OTHER, NOW)
    effects = held.receive(PEER, signed(version(1, threshold=2950)), NOW)
    kinds = [type(each) for each in effects if not isinstance(each, Notice)]
    assert kinds == [Persist, Announce, Send]
    assert held.effective(NOW).threshold == 2950
    again = charter(kept_by(effects))
    assert again.digest == held.digest
    assert again.holds.held.previous == charter().digest


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_earlier_policy_changes_nothing(number: int) -> None:
    held = charter()
    held.receive(PEER, signed(version(2)), NOW)
    assert held.receive(PEER, signed(version(number)), NOW) == []
    assert held.holds.mesh.version == 2


def test_a_forged_policy_is_refused_undecoded() -> None:
    held = charter()
    with pytest.raises(BadSignature):
        held.receive(PEER, signed(version(9), FORGER), NOW)
    with pytest.raises(BadSignature):
        held.receive(PEER, PolicyDocument(b"\xc1", bytes(64)), NOW)
    with pytest.raises(TooLarge):
        held.receive(PEER, PolicyDocument(bytes(MAX_DOCUMENT_BYTES + 1), bytes(64)), NOW)
    assert held.holds.mesh.version == 0


def test_a_policy_out_of_bounds_is_refused_although_it_is_signed() -> None:
    held = charter()
    with pytest.raises(Malformed, match=r"threshold = 2\.300"):
        held.receive(PEER, signed(version(1, threshold=2300)), NOW)


def test_offers_are_answered_by_who_holds_what() -> None:
    held = charter(signs=True)
    held.sign(version(3), NOW)
    [wanted] = held.receive(PEER, PolicyOffer(4, bytes(32)), NOW)
    assert wanted == Send(PEER, PolicyWanted(4))
    assert held.receive(PEER, PolicyOffer(4, bytes(32)), NOW) == []
    [told] = held.receive(OTHER, PolicyOffer(2, bytes(32)), NOW)
    assert isinstance(told, Send)
    assert isinstance(told.message, PolicyOffer)
    assert told.message.version == 3
    assert held.receive(OTHER, PolicyOffer(2, bytes(32)), NOW) == []
    assert held.receive(OTHER, PolicyOffer(3, held.digest), NOW) == []


def test_a_request_is_served_once_in_a_while() -> None:
    held = charter(signs=True)
    assert held.receive(PEER, PolicyWanted(1), NOW) == []
    held.sign(version(0), NOW)
    [given] = held.receive(PEER, PolicyWanted(1), NOW)
    assert isinstance(given, Send)
    assert isinstance(given.message, PolicyDocument)
    assert held.receive(PEER, PolicyWanted(1), at(PATIENCE_S / 2)) == []
    assert len(held.receive(PEER, PolicyWanted(1), at(PATIENCE_S))) == 1


def test_a_large_mesh_is_told_by_many_not_by_one() -> None:
    held = charter(signs=True)
    for number in range(100):
        held.member_up(NodeId(f"n{number}"), NOW)
    effects = held.sign(version(0), NOW)
    told = [each.to for each in effects if isinstance(each, Send)]
    assert len(told) == len(set(told)) == FANOUT


def test_members_are_told_again_every_so_often() -> None:
    held = charter()
    held.tick(NOW)
    assert held.next_deadline() is None
    held.member_up(PEER, NOW)
    due_s = held.next_deadline()
    assert due_s == NOW.mono_s + EthicsSettings().offer_s
    [told] = held.tick(at(EthicsSettings().offer_s))
    assert isinstance(told, Send)
    held.member_down(PEER)
    assert held.next_deadline() is None


def test_only_who_has_the_key_signs_and_versions_only_grow() -> None:
    with pytest.raises(NotAllowed, match="mesh's key"):
        charter().sign(version(0), NOW)
    held = charter(signs=True)
    held.sign(version(0), NOW)
    held.sign(version(0, threshold=2950), NOW)
    assert held.holds.mesh.version == 2
    with pytest.raises(UsageError, match="version 2") as error:
        held.sign(version(2), NOW)
    assert "3" in error.value.hint


def test_a_policy_of_another_mesh_is_left_out_with_a_notice() -> None:
    held = charter(signs=True)
    effects = held.sign(version(0), NOW)
    moved = Charter(
        mesh_key=FORGER.public,
        signer=None,
        settings=EthicsSettings(),
        rng=random.Random(0),
        kept=kept_by(effects),
    )
    assert moved.holds.mesh.version == 0
    [notice] = [each for each in moved.tick(NOW) if isinstance(each, Notice)]
    assert notice.event == "policy.left-out"


@pytest.mark.parametrize("name", ["ethics/mesh", "ethics/owner", "ethics/exceptions"])
def test_kept_bytes_that_do_not_decode_name_their_file(name: str) -> None:
    with pytest.raises(StorageCorrupt, match=name):
        charter({name: b"\xc1"})


def test_a_pause_survives_a_restart_and_ends_by_itself() -> None:
    held = charter()
    effects = held.owner.pause(3_600, "a call", NOW)
    assert said(effects) == ["pause"]
    again = charter(kept_by(effects))
    assert again.pause is not None
    assert again.pause.why == "a call"
    again.tick(NOW)
    assert again.next_deadline() == NOW.mono_s + 60
    assert again.tick(at(3_599)) == []
    assert said(again.tick(at(3_600))) == ["resume"]
    assert again.pause is None


def test_a_pause_without_end_lasts_until_it_is_resumed() -> None:
    held = charter()
    held.owner.pause(0, "", NOW)
    held.tick(at(400 * DAY_S))
    assert held.pause is not None
    effects = held.owner.resume(at(400 * DAY_S))
    assert said(effects) == ["resume"]
    assert Persist("ethics/exceptions", None) in effects
    assert held.owner.resume(NOW) == []


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_a_pause_of_no_length_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError):
        charter().owner.pause(seconds, "", NOW)


def test_an_override_counts_until_its_end() -> None:
    held = charter()
    before = held.holds.effective_digest(NOW)
    effects = held.owner.override("c1", 7_200, "demo", NOW)
    assert said(effects) == ["override"]
    names = [each.signal for each in held.effective(NOW).overrides]
    assert names == ["c1.cpu", "c1.io", "c1.memory"]
    assert held.holds.effective_digest(NOW) != before
    again = charter(kept_by(effects))
    assert said(again.tick(at(7_200))) == ["override-over"]
    assert again.holds.effective_digest(at(7_200)) == before


def test_an_override_is_ended_early() -> None:
    held = charter()
    held.owner.override("c3", 60, "", NOW)
    assert said(held.owner.override("c3", 0, "", NOW)) == ["override-over"]
    assert held.effective(NOW).overrides == ()
    assert held.owner.override("c3", 0, "", NOW) == []


@pytest.mark.parametrize("signal", ["c7", "c8", "h3", "h5", "s2.shutdown", "s0", "x9", ""])
def test_nobody_does_without_these(signal: str) -> None:
    with pytest.raises(UsageError, match="cannot be overridden"):
        charter().owner.override(signal, 60, "", NOW)


def test_an_override_lasts_a_day_at_most_even_when_the_clock_is_set_back() -> None:
    held = charter()
    with pytest.raises(UsageError, match="cannot last"):
        held.owner.override("c3", DAY_S + 1, "", NOW)
    held.owner.override("c3", DAY_S, "", NOW)
    set_back = Instant(at(60).mono_s, at(-2 * DAY_S).wall_ns)
    assert said(held.tick(set_back)) == ["override-over"]


def test_a_reason_that_would_write_on_a_terminal_is_refused() -> None:
    with pytest.raises(UsageError, match="reason"):
        charter().owner.pause(0, "\x1b[2J", NOW)


def test_quiet_hours_begin_and_end_by_themselves() -> None:
    held = charter(signs=True)
    held.sign(version(0, quiet=(Hours(60, 120),)), NOW)
    held.tick(NOW)
    assert held.consents(NOW)
    assert said(held.tick(at(3_600))) == ["quiet"]
    assert not held.consents(at(3_600))
    assert held.quiet(at(3_600)) == MIDNIGHT_S + 7_200
    assert said(held.tick(at(7_200))) == ["quiet-over"]


def test_an_owner_makes_it_stricter_and_keeps_that() -> None:
    held = charter()
    own = OwnerPolicy(threshold=2950, ramps={"c3": Ramp(300_000, 100_000)}, quiet=(Hours(0, 60),))
    effects = held.owner.set_policy(own, NOW)
    assert said(effects) == ["owner"]
    again = charter(kept_by(effects))
    policy = again.effective(NOW)
    assert policy.threshold == 2950
    assert policy.ramps["c3"] == Ramp(300_000, 100_000)
    assert not again.consents(NOW)
    assert again.digest == charter().digest
    assert Persist("ethics/owner", None) in again.owner.set_policy(OwnerPolicy(), NOW)


def test_an_owner_who_asks_for_less_changes_nothing() -> None:
    held = charter()
    before = held.effective(NOW)
    held.owner.set_policy(OwnerPolicy(threshold=2400, ramps={"c3": Ramp(900_000, 800_000)}), NOW)
    assert held.effective(NOW) == before


def test_an_owner_s_file_counts_instead_of_what_was_set() -> None:
    kept = kept_by(charter().owner.set_policy(OwnerPolicy(threshold=2990), NOW))
    held = charter(kept, by_file=OwnerPolicy(threshold=2950), policy_file="/etc/own.toml")
    assert held.effective(NOW).threshold == 2950
    with pytest.raises(ConfigError, match="/etc/own"):
        held.owner.set_policy(OwnerPolicy(), NOW)


def test_the_preset_is_the_owner_s_then_the_setting_s_then_what_it_looks_like() -> None:
    held = charter()
    assert said(held.owner.look_like("dedicated", NOW)) == ["owner"]
    assert held.effective(NOW).preset == "dedicated"
    assert held.owner.look_like("dedicated", NOW) == []
    effects = held.owner.choose_preset("field", NOW)
    assert held.holds.preset == ("field", "owner")
    assert charter(kept_by(effects), preset="desktop").holds.preset == ("field", "owner")
    held.owner.choose_preset("", NOW)
    assert held.holds.preset == ("dedicated", "found")
    with pytest.raises(UsageError, match="no preset"):
        held.owner.choose_preset("boat", NOW)


def test_a_preset_that_the_mesh_does_not_allow_gives_way_to_the_strictest() -> None:
    usual = built_in().presets
    held = charter(signs=True, preset="dedicated")
    held.sign(version(0, presets={"desktop": usual["desktop"], "field": usual["field"]}), NOW)
    assert held.effective(NOW).preset == "desktop"


def test_a_change_of_policy_records_all_that_its_digest_covers() -> None:
    held = charter(signs=True)
    effects = held.sign(version(0, grants=(Grant(("submitter",)),)), NOW)
    [fact] = [each.message for each in effects if isinstance(each, Announce)]
    assert isinstance(fact, CharterChanged)
    domain, _, body = fact.record.partition(b"\x00")
    record = msgspec.msgpack.decode(body)
    assert domain == b"qallow/charter-change/v1"
    kept = msgspec.convert(record["policy"], Policy)
    assert kept == held.effective(NOW)
    assert fact.effective == policy_digest(kept) == record["effective"]
    assert len(fact.record) < 65_535


def test_a_mesh_can_do_without_a_signal_for_a_while_too() -> None:
    until_ms = (MIDNIGHT_S + 100) * 1000
    held = charter(signs=True)
    held.sign(version(0, overrides=(Override("c2", until_ms, "fair"),)), NOW)
    assert held.effective(NOW).overrides
    assert not held.effective(at(100)).overrides
