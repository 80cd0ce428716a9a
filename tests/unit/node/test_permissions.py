import pytest

from qallow_agent.base.errors import NotAllowed
from qallow_agent.jobs.messages import JOB_KINDS, LeaseRelease, LeaseRenew
from qallow_agent.ledger.kinds import COUNCIL_KINDS
from qallow_agent.mesh.wire.kinds import PushPull, Role
from qallow_agent.node.permissions import NEEDED, check


def test_every_message_about_jobs_needs_a_role() -> None:
    assert set(JOB_KINDS) <= set(NEEDED) <= {*JOB_KINDS, *COUNCIL_KINDS}


@pytest.mark.parametrize("role", [Role.SUBMITTER, Role.OPERATOR, Role.OWNER])
def test_whoever_may_submit_may_hold_leases(role: Role) -> None:
    check(LeaseRenew(("lease-1",)), (role,), "a")


@pytest.mark.parametrize("roles", [(), (Role.WORKER,), (Role.OBSERVER, Role.VALIDATOR)])
def test_others_may_not(roles: tuple[Role, ...]) -> None:
    with pytest.raises(NotAllowed, match=r"lease\.release") as refused:
        check(LeaseRelease(("lease-1",)), roles, "a")
    assert "submitter" in refused.value.hint


def test_any_member_may_gossip() -> None:
    check(PushPull(()), (), "a")
