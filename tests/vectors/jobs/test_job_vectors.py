"""Golden bytes of what is signed and of what flows to runners; a change needs a new version."""

import hashlib

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.keys import SigningKey
from qallow_agent.jobs.leases import sign_lease, signed_bytes
from qallow_agent.jobs.messages import Lease
from qallow_agent.jobs.parcels import (
    ArrayHead,
    Fault,
    ResultHead,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
)

LEASE = Lease(
    LeaseId("lease-a"), JobId("job-b"), NodeId("n" * 26), "box", "cpu0", RunnerId("runner-c"),
    "harmonic", "a" * 64, 1024, 10.0, 1.7e9, ("10.0.0.1", "::1"), 4711, b"r" * 32, b"s" * 32,
)  # fmt: skip


def test_the_signed_bytes_of_a_lease() -> None:
    data = signed_bytes(LEASE)
    assert data.startswith(b"qallow/lease/v1\x00")
    assert hashlib.sha256(data).hexdigest() == (
        "34109ce054c2af51a6723b93fe37caa2a63ccdc612d0f1c4498c88df73d71fd1"
    )
    assert sign_lease(LEASE, SigningKey(b"\x01" * 32)).signature.hex() == (
        "95d8c58adeb2b9d1ea8f0c6436495a2b754f8a19fc87b11e07479f858c40a8d5220626b9288b2ad1"
        "8f655c25cdcd8b97df1f8dffb59f91e00dc8994f9ce96305"
    )


def test_a_parcel_of_tasks() -> None:
    head = ArrayHead("coupling", "f4", (2,))
    parcel = TaskParcel(LeaseId("lease-a"), (TaskHead(7, 1, 2, {"ticks": 400}, (head,)),))
    assert pack(parcel).hex() == (
        "83a474797065a57461736b73a56c65617365a76c656173652d61a57461736b73919607010281a574"
        "69636b73cd01909193a8636f75706c696e67a26634910290"
    )


def test_a_parcel_of_results() -> None:
    fault = Fault("kernel-failed", "it raised", "", "Traceback")
    done = ResultHead(7, 1, 0.5, (ArrayHead("tick", "i8", (2, 1)),))
    parcel = ResultParcel(LeaseId("lease-a"), (done, ResultHead(8, 2, 0.0, (), fault)))
    assert pack(parcel).hex() == (
        "83a474797065a7726573756c7473a56c65617365a76c656173652d61a7726573756c747392950701"
        "cb3fe00000000000009193a47469636ba26938920201c0950802cb00000000000000009094ad6b65"
        "726e656c2d6661696c6564a9697420726169736564a0a954726163656261636b"
    )
