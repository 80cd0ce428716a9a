"""What a receipt says of a job's record: whole numbers in order, and nothing that nobody told."""

import msgspec
import pytest

from qallow_agent.base.ids import JobId, NodeId
from qallow_agent.base.joules import Joules, unknown_joules
from qallow_agent.jobs.messages import Fingerprint, JobOptions, JobState, OutputColumn
from qallow_agent.jobs.model import FINAL, EnergyTab, JobRecord
from qallow_agent.ledger.receipt import UNKNOWN, Admission, Receipt, pack, pack_admission, unpack
from qallow_agent.node.remarks import Remarks, receipt_of
from qallow_agent.testing.receipts import ADMISSION, NODE

JOULES = Joules(2.5, 1.25, 1.0, 3.0)
TAB = EnergyTab(NodeId(NODE), "cpu0", "box/cpu0", "a1", JOULES, 1e9, 2.0, settled=True)
RECORD = JobRecord(
    id=JobId("job-1"),
    kernel="harmonic",
    kernel_hash="ab" * 32,
    points=100,
    options=JobOptions(),
    fingerprint="",
    state=JobState.SUCCEEDED,
    submitted_s=1_750_000_000.0,
    ended_s=1_750_000_004.5,
    done=90,
    failed=10,
    rerun=3,
    share={"box/cpu0": 90},
    energy=(TAB,),
    printed=Fingerprint(b"i" * 32, b"o" * 32, (OutputColumn("y", "f8", (2,)),)),
)
replace = msgspec.structs.replace


def made(remarks: Remarks | None = None, bound_s: float = 0.0105, **changes: object) -> Receipt:
    receipt = receipt_of(replace(RECORD, **changes), NODE, bound_s, remarks or Remarks())
    assert unpack(pack(receipt)) == receipt
    return receipt


def test_a_receipt_repeats_the_record_in_whole_numbers() -> None:
    receipt = made()
    assert (receipt.job, receipt.end, receipt.points, receipt.done) == (
        "job-1", "succeeded", 100, 90,
    )  # fmt: skip
    assert receipt.ended_ms - receipt.submitted_ms == 4_500
    assert receipt.bound_ms == 11
    assert receipt.energy.gross_uj == 2_500_000
    (executor,) = receipt.executors
    assert (executor.place, executor.points, executor.ops) == ("box/cpu0", 90, 10**9)
    assert executor.busy_us == 2_000_000
    assert receipt.columns[0].shape == (2,)


def test_a_clock_that_nobody_vouches_for_has_no_bound() -> None:
    assert made(bound_s=float("inf")).bound_ms == UNKNOWN


@pytest.mark.parametrize("state", sorted(FINAL))
def test_every_final_state_is_an_end(state: JobState) -> None:
    assert made(state=state).end == state.value


def test_bounds_stay_in_order_when_they_are_rounded() -> None:
    odd = Joules(1.0000004, 1.0000006, 1.0000007, 1.0)
    energy = made(energy=(replace(TAB, joules=odd),)).energy
    assert energy.low_uj <= energy.net_uj <= energy.gross_uj <= energy.high_uj


def test_an_executor_that_told_not_all_is_named() -> None:
    open_tab = replace(TAB, settled=False)
    assert "box/cpu0 has not told all" in made(energy=(open_tab,)).executors[0].energy.why
    blind = replace(TAB, joules=unknown_joules("no meter"))
    assert made(energy=(blind,)).executors[0].energy.why == "no meter"
    assert made(energy=()).executors == ()


def test_the_tabs_of_a_device_whose_agent_restarted_are_one_executor() -> None:
    other = replace(TAB, account="a2")
    (executor,) = made(energy=(TAB, other)).executors
    assert executor.energy.gross_uj == 5_000_000
    assert executor.ops == 2 * 10**9


def test_the_score_that_came_with_the_lease_stands_beside_the_executor() -> None:
    told = {"box/cpu0": pack_admission(ADMISSION)}
    assert made(admitted=told).executors[0].admission == ADMISSION
    better = Remarks(admissions={"box/cpu0": replace(ADMISSION, index=3)})
    found = made(better, admitted=told).executors[0].admission
    assert isinstance(found, Admission)
    assert found.index == 3


@pytest.mark.parametrize(
    "nonsense",
    [b"junk", b"\xc0", pack_admission(replace(ADMISSION, e=1)),
     pack_admission(replace(ADMISSION, evidence=b"short"))],
)  # fmt: skip
def test_a_score_that_makes_no_sense_is_left_out(nonsense: bytes) -> None:
    assert made(admitted={"box/cpu0": nonsense}).executors[0].admission is None


def test_what_others_remark_is_there() -> None:
    receipt = made(Remarks(flags=("incoherent",), replicas=2, validators=("bob",)))
    assert (receipt.flags, receipt.replicas, receipt.validators) == (("incoherent",), 2, ("bob",))


def test_long_names_are_cut_and_not_refused() -> None:
    assert len(made(kernel="k" * 500).kernel) == 200
