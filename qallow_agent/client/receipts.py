"""Receipts as programs get them: what a job was and did, with the proof that it is logged."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qallow_agent.base.errors import BadSignature, PeerError, UsageError
from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Report
from qallow_agent.base.units import Seconds
from qallow_agent.client.control import ControlLink
from qallow_agent.client.places import replacing
from qallow_agent.ledger.credence import Finding, Trust, examine
from qallow_agent.ledger.policy import parse_policy
from qallow_agent.ledger.receipt import Receipt
from qallow_agent.ledger.receiptfile import ReceiptFile, open_receipt, parse_receipt
from qallow_agent.ledger.signing import parse_note_key
from qallow_agent.node.commands import GetReceipt

TIMEOUT_S: Final = 30.0
_ANSWER_S: Final = 5.0
"""How much longer than it shall wait the agent may take to answer."""


@dataclass(frozen=True, slots=True)
class JobReceipt:
    """What a job was and did, and the proof that its node logged that.

    Args:
        data: The file: a C2SP tlog-proof that carries the receipt.
        standing: What the signatures of its head amount to, as the agent says.
        certified: Whether a quorum has cosigned it, as the agent says.
    """

    data: bytes
    standing: str
    certified: bool

    @property
    def receipt(self) -> Receipt:
        """What the receipt says."""
        return open_receipt(self.file.entry)[1]

    @property
    def file(self) -> ReceiptFile:
        """The parts of the proof."""
        return parse_receipt(self.data)

    def verify(self, *, key: str = "", policy: str = "", node: str = "", mesh: str = "") -> Finding:
        """Return what it proves to somebody who trusts something of it.

        Args:
            key: The log's key, ``name+id+key``.
            policy: The text of a C2SP tlog-policy.
            node: The id of the node whose job it is said to be.
            mesh: The id of its mesh, whose committee must have certified it.

        Raises:
            UsageError: Nothing was given.
            BadSignature: It is not signed by what is trusted, or a signature is wrong.
            BadProof: The head does not cover the receipt.
        """
        if not (key or policy or node or mesh):
            raise UsageError("nothing is trusted", hint="give a key, a policy, a node or a mesh")
        keys = (parse_note_key(key),) if key else ()
        found = examine(
            self.file, Trust(keys, parse_policy(policy) if policy else None, node, mesh)
        )
        if not found.trusted:
            raise BadSignature("no committee of that mesh has certified it", hint="give its key")
        return found

    def save(self, path: str | Path) -> None:
        """Write the file, for ``qallow-agent receipt verify``.

        Raises:
            StorageError: It cannot be written.
        """
        with replacing(Path(path)) as opened:
            opened.write(self.data)


def fetch_receipt(
    socket: Path, find_job: Callable[[], str], timeout_s: Seconds, *, certify: bool
) -> JobReceipt:
    """Return the receipt of a job, as soon as it is over and its receipt is signed.

    Args:
        socket: The agent's.
        find_job: Returns the job's id.
        timeout_s: How long all of it may take.
        certify: Wait for the cosignatures of a quorum as well; what is there at the end of the
            time is returned.

    Raises:
        DeadlineExceeded: There is none in time.
        QallowError: What the agent refused with, or AgentUnreachable.
    """
    until_s = time.monotonic() + timeout_s
    job = JobId(find_job())
    patience_s = max(until_s - time.monotonic(), 0.0)
    with ControlLink(socket, _ANSWER_S) as link:
        answer = link.ask(GetReceipt(job, certify, patience_s), patience_s + _ANSWER_S)
    if not isinstance(answer, Report):
        raise PeerError(
            f"the agent answered with {type(answer).__name__}, not with a receipt",
            hint="agent and client are of different releases: restart the agent",
        )
    said = answer.document
    return JobReceipt(said["file"].encode(), said["standing"], bool(said["certified"]))
