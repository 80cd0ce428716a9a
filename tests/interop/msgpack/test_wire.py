import msgpack
import pytest

from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.jobs.messages import LeaseRenew
from qallow_agent.jobs.parcels import (
    ArrayHead,
    ResultHead,
    ResultParcel,
    TaskHead,
    TaskParcel,
    pack,
)
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.kinds import PROTOCOL
from qallow_agent.node.post import MEMBER_KINDS

NODE = NodeId("a" * 26)


def test_another_implementation_reads_our_letters() -> None:
    codec = MeshCodec(MEMBER_KINDS)
    data = codec.encode(LeaseRenew(("lease-1", "lease-2")), NODE, Stamp(7, 1), "trace")
    version, kind, sender, stamp, trace, body = msgpack.unpackb(data)
    assert (version, kind, sender, stamp, trace) == (PROTOCOL, "lease.renew", NODE, [7, 1], "trace")
    assert body["leases"] == ["lease-1", "lease-2"]


def test_we_read_the_letters_of_another_implementation() -> None:
    codec = MeshCodec(MEMBER_KINDS)
    body = {"leases": ["lease-1"], "a field of the future": True}
    data = msgpack.packb([PROTOCOL, "lease.renew", NODE, [7, 1], "", body])
    letter = codec.decode(data)
    assert letter.message == LeaseRenew(("lease-1",))
    assert (letter.sender, letter.stamp) == (NODE, Stamp(7, 1))


@pytest.mark.parametrize(
    ("parcel", "kind"),
    [
        (TaskParcel("lease-1", (TaskHead(3, 1, 2, {"ticks": 5}, (ArrayHead("eps", "f4", (2,)),)),)),
         "tasks"),
        (ResultParcel("lease-1", (ResultHead(3, 1, 0.5, (ArrayHead("E", "f8", (2,)),)),)),
         "results"),
    ],
)  # fmt: skip
def test_another_implementation_reads_our_parcel_headers(
    parcel: TaskParcel | ResultParcel, kind: str
) -> None:
    header = msgpack.unpackb(pack(parcel))
    assert header["type"] == kind
    assert header["lease"] == "lease-1"
