from types import SimpleNamespace

import msgspec
import pytest

from qallow_agent.base.errors import BadSignature, InvariantBroken
from qallow_agent.base.keys import SigningKey
from qallow_agent.jobs.leases import verify_lease
from qallow_agent.jobs.messages import JobState
from qallow_agent.jobs.model import FINAL, TRANSITIONS, JobEvent, advance, fingerprint


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("event", JobEvent)
def test_nothing_leads_out_of_an_end(state: JobState, event: JobEvent) -> None:
    with pytest.raises(InvariantBroken, match=f"a {state} job cannot be {event}"):
        advance(state, event)


def test_every_living_state_knows_every_event() -> None:
    living = [state for state in JobState if state not in FINAL]
    assert set(TRANSITIONS) == {(state, event) for state in living for event in JobEvent}


def test_every_state_can_be_reached_and_every_living_one_left() -> None:
    assert set(TRANSITIONS.values()) == set(JobState)


def test_a_fingerprint_is_of_what_is_computed_not_of_how(tools: SimpleNamespace) -> None:
    one = tools.order(slots=1, idempotency_key="k")
    assert fingerprint(one, "h") == fingerprint(tools.order(slots=9, retries=0), "h")
    assert fingerprint(one, "h") != fingerprint(one, "other")
    assert fingerprint(one, "h") != fingerprint(tools.order(points=7), "h")


def test_a_signed_lease_verifies_only_unchanged_and_only_by_its_node(
    tools: SimpleNamespace,
) -> None:
    lease = tools.sign(tools.lease("one", node=tools.IDENTITY.id), tools.IDENTITY)
    verify_lease(lease, tools.IDENTITY.public)
    for changes in ({"credits": 9999}, {"port": 1}, {"submitter_key": b"x" * 32}):
        with pytest.raises(BadSignature):
            verify_lease(msgspec.structs.replace(lease, **changes), tools.IDENTITY.public)
    with pytest.raises(BadSignature, match="does not belong"):
        verify_lease(lease, SigningKey(b"\x02" * 32).public)
