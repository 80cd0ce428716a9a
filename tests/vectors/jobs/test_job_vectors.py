"""Golden bytes of what is signed and of what flows to runners; a change needs a new version."""

import hashlib

import pytest

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.keys import SigningKey
from qallow_agent.jobs.leases import sign_lease, signed_bytes
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.parcels import (
    PARCELS,
    STATE,
    ArrayHead,
    Chunk,
    Fault,
    Hatch,
    Header,
    HoldsMissing,
    Missing,
    ResultHead,
    ResultParcel,
    Room,
    Snapshot,
    TaskHead,
    TaskParcel,
    pack,
)

LEASE = Lease(
    LeaseId("lease-a"), JobId("job-b"), NodeId("n" * 26), "box", "cpu0", RunnerId("runner-c"),
    "harmonic", "a" * 64, 1024, 10.0, 1.7e9, ("10.0.0.1", "::1"), 4711, b"r" * 32, b"s" * 32,
    parcels=2,
)  # fmt: skip


def test_the_signed_bytes_of_a_lease() -> None:
    data = signed_bytes(LEASE)
    assert data.startswith(b"qallow/lease/v2\x00")
    assert hashlib.sha256(data).hexdigest() == (
        "aa1d7461525dcb6ace0d534f7446f3bdf2f7da15a83dc5e9779a383b171e8320"
    )
    assert sign_lease(LEASE, SigningKey(b"\x01" * 32)).signature.hex() == (
        "6ca5014533b5d8971e90b5c82b3989e97a43d8522a1876d3bed61975cfe6abb4adb22f0f6fa193c0"
        "6b5a485b2c6e384d46c509d3f887348e331ded46414d290a"
    )


def test_the_bytes_of_parcels_are_those_of_version_3() -> None:
    assert PARCELS == 3


def test_a_parcel_of_tasks() -> None:
    head = ArrayHead("coupling", "f4", (2,))
    parcel = TaskParcel(LeaseId("lease-a"), (TaskHead(7, 1, 2, {"ticks": 400}, (head,)),))
    assert pack(parcel).hex() == (
        "83a474797065a57461736b73a56c65617365a76c656173652d61a57461736b73919707010281a57469636b"
        "73cd01909195a8636f75706c696e67a266349102c4000090c0"
    )


def test_a_parcel_whose_array_lies_in_a_hold() -> None:
    head = ArrayHead("x", "f8", (1 << 20,), b"hold", 64)
    task = TaskHead(7, 1, 1, {}, (), (head,), Room(b"room", 0, 1 << 23))
    assert pack(TaskParcel(LeaseId("lease-a"), (task,))).hex() == (
        "83a474797065a57461736b73a56c65617365a76c656173652d61a57461736b73919707010180909195a178"
        "a2663891ce00100000c404686f6c644093c404726f6f6d00ce00800000"
    )


def test_a_parcel_of_a_long_task_that_goes_on() -> None:
    head = ArrayHead(STATE, "u1", (70_000,))
    parcel = TaskParcel(LeaseId("lease-a"), (TaskHead(7, 2, 1, {}, (), (head,)),), 5_000)
    assert pack(parcel).hex() == (
        "84a474797065a57461736b73a56c65617365a76c656173652d61a57461736b73919707020180909195a6"
        "407374617465a2753191ce00011170c40000c0a56576657279cd1388"
    )


def test_the_state_of_a_task() -> None:
    head = ArrayHead(STATE, "u1", (9,), b"hold")
    assert pack(Snapshot(LeaseId("lease-a"), 7, 2, head)).hex() == (
        "85a474797065a8736e617073686f74a56c65617365a76c656173652d61a66e756d62657207a761747465"
        "6d707402a5737461746595a6407374617465a275319109c404686f6c6400"
    )


def test_a_parcel_of_results() -> None:
    fault = Fault("kernel-failed", "it raised", "", "Traceback")
    done = ResultHead(7, 1, 0.5, (ArrayHead("tick", "i8", (2, 1)),))
    alike, failed = ResultHead(8, 1, 0.5, None), ResultHead(9, 2, 0.0, (), fault)
    parcel = ResultParcel(LeaseId("lease-a"), (done, alike, failed))
    assert pack(parcel).hex() == (
        "83a474797065a7726573756c7473a56c65617365a76c656173652d61a7726573756c747393950701cb3fe0"
        "0000000000009195a47469636ba26938920201c40000c0950801cb3fe0000000000000c0c0950902cb0000"
        "0000000000009094ad6b65726e656c2d6661696c6564a9697420726169736564a0a954726163656261636b"
    )


@pytest.mark.parametrize(
    ("header", "bytes_in_hex"),
    [
        (
            Chunk(LeaseId("lease-a"), b"hold", 1 << 20, 3 << 20, keep=True),
            (
                "86a474797065a56368756e6ba56c65617365a76c656173652d61a4686f6c64c404686f6c64a66f666673"
                "6574ce00100000ab746f74616c5f6279746573ce00300000a46b656570c3"
            ),
        ),
        (
            HoldsMissing(LeaseId("lease-a"), (7,), (Missing(b"hold", ((0, 1 << 20),)),)),
            (
                "84a474797065ad686f6c64732d6d697373696e67a56c65617365a76c656173652d61a57461736b739107"
                "a5686f6c64739192c404686f6c64919200ce00100000"
            ),
        ),
        (
            Hatch(LeaseId("lease-a"), b"\0q", b"p", b"c", 1000),
            (
                "86a474797065a56861746368a56c65617365a76c656173652d61a761646472657373c4020071a8706173"
                "73776f7264c40170ab636f756e7465727369676ec40163a3756964cd03e8"
            ),
        ),
    ],
)
def test_parcels_about_holds(header: Header, bytes_in_hex: str) -> None:
    assert pack(header).hex() == bytes_in_hex
