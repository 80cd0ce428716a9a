"""What is said about answers: a client to its desk, and a desk to the bench that gave one."""

import msgspec

from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Message


class Comparison(msgspec.Struct, frozen=True, array_like=True):
    """The answers of several devices to one task, and which of them are alike.

    Args:
        places: ``node/device`` of each answer.
        classes: Class of each, numbered from 0.
        times: Equal comparisons in a row.
        task: Digest of the task's parameters; only where answers differ, and so is what follows.
        digests: Of each answer.
        point: Which point of the job's sweep came first in the task.
        shadow: The result had been delivered before it was compared.
    """

    places: tuple[str, ...]
    classes: tuple[int, ...]
    times: int = 1
    task: bytes = b""
    digests: tuple[bytes, ...] = ()
    point: int = 0
    shadow: bool = False


class AuditDone(Message, tag="job.audit"):
    """The submitter has compared answers to tasks of a job."""

    job: JobId
    comparisons: tuple[Comparison, ...]


class Dissent(Message, tag="job.dissent"):
    """A desk tells a bench that an answer of its device differs from what others answered.

    It is a reason to try the device, and no proof: whoever says so may be wrong, or lie.

    Args:
        job: Whose task it was.
        kernel: What was computed.
        device: Which device of the bench.
        answers: How many answers were compared.
        alike: How many of them were alike, and not this one; 0 when no two were.
        task: Digest of the task's parameters.
        theirs: Digest of this device's answer.
        others: Digest of what most answered; empty when no two were alike.
    """

    job: JobId
    kernel: str
    device: str
    answers: int
    alike: int
    task: bytes
    theirs: bytes
    others: bytes


class Consent(Message, tag="job.consent"):
    """A desk tells a bench how often answers of a device on trial agreed with those of others."""

    device: str
    times: int


OPINIONS: tuple[type[Message], ...] = (Dissent, Consent)
"""What a desk tells a bench of its devices' answers."""
