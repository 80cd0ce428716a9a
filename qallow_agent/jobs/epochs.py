"""What a submitter and its desk say of the states of long runs."""

from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import JobId, LeaseId
from qallow_agent.base.message import Message


class JobStep(Message, tag="job.step"):
    """The submitter tells of a run: a state was kept, or it goes on from one, or one was no good.

    Args:
        what: ``KEPT``, ``RESUMED`` or ``CORRUPT`` of :mod:`qallow_agent.jobs.story`.
        lease: Under which it runs.
        task: Which task of the job.
        attempt: Which attempt of it.
        epoch: Of the state.
        tick: After which it was.
        digest: Of the state's blob.
        previous: Digest of the blob before.
        size_bytes: Of the blob.
        why: What was wrong.
        stamp: The submitter's hybrid time.
    """

    job: JobId
    what: str
    lease: LeaseId
    task: int
    attempt: int
    epoch: int
    tick: int
    digest: str
    previous: str
    size_bytes: int
    why: str = ""
    stamp: Stamp = Stamp(0, 0)


class KeepEpoch(Message, tag="job.epoch"):
    """A part of a run's state, opaque bytes in order, at most 4 MiB each.

    From the submitter: keep it; answered. From the desk: this was kept.
    """

    job: JobId
    epoch: int
    part: int
    data: bytes
    last: bool = False
