"""Fetching a retained result: Deposit parts, in order, are the bytes of one NPZ archive."""

import io
from pathlib import Path

import numpy as np

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.base.ids import JobId
from qallow_agent.base.message import Report
from qallow_agent.cli.deliver import deliver, save_retained
from qallow_agent.cli.options import LocalAgent
from qallow_agent.client.control import ControlLink
from qallow_agent.config.load import find_socket
from qallow_agent.jobs.epochs import KeepEpoch
from qallow_agent.jobs.messages import Deposit, Fetch, ListJobs


def fetch(agent: LocalAgent, job: JobId, output: Path) -> list[Path]:
    """Write the retained result of a job into a folder or a file and return the files.

    Raises:
        JobNotFound: Unknown, not retained, or past its retention.
        StorageCorrupt: The parts do not make an archive.
    """
    with ControlLink(find_socket(agent.socket), agent.timeout_s) as link:
        arrays = retained_arrays(link, job)
        about = link.ask(ListJobs(job))
    jobs = about.document.get("jobs") if isinstance(about, Report) else None
    summary = {"schema": "qallow.retained/v1", "job": job, "about": (jobs or [{}])[0]}
    return deliver(output, save_retained(arrays), summary)[0]


def retained_arrays(link: ControlLink, job: JobId) -> dict[str, np.ndarray]:
    """Return the retained result of a job by name.

    Raises:
        JobNotFound: Unknown, not retained, or past its retention.
        StorageCorrupt: The parts do not make an archive.
    """
    data = fetched(link, Fetch(job), f"the retained result of {job}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise StorageCorrupt(f"the retained result of {job} is no archive: {error}") from error


def fetched(link: ControlLink, wish: Fetch, what: str) -> bytes:
    """Return the bytes that the desk hands out part by part.

    Raises:
        QallowError: The desk refused.
        StorageCorrupt: A part is missing.
    """
    channel = link.post(wish)
    data = bytearray()
    expected = 0
    while True:
        part = link.wait(channel)
        if not isinstance(part, Deposit | KeepEpoch) or part.part != expected:
            raise StorageCorrupt(f"part {expected} of {what} is missing")
        data += part.data
        if part.last:
            return bytes(data)
        expected += 1
