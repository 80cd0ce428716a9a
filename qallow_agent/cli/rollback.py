"""``result --at-epoch``: back to a checkpoint of a run, and from there to the end again."""

import hashlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from qallow_agent.base.errors import (
    EXIT_FAILED,
    EXIT_OK,
    CheckpointCorrupt,
    JobNotFound,
    JobRejected,
)
from qallow_agent.base.ids import JobId
from qallow_agent.cli.deliver import deliver, save_single
from qallow_agent.cli.options import LocalAgent
from qallow_agent.cli.output import emit, note, pairs
from qallow_agent.cli.retained import fetched, retained_arrays
from qallow_agent.cli.show import inline, show_outputs
from qallow_agent.client.control import ControlLink
from qallow_agent.config.load import find_socket
from qallow_agent.jobs.messages import Fetch
from qallow_agent.kernels.state import Checkpoint, blob_digest, decode_checkpoint

_LONG_S = 365 * 86_400.0
"""Whoever replays a run waits for its end; Ctrl-C ends the wait."""


def roll_back(
    agent: LocalAgent,
    job: JobId,
    epoch: int,
    output: Path | None,
    *,
    only_state: bool,
    as_json: bool,
) -> int:
    """Replay a run from a checkpoint to its end; return the exit code.

    Args:
        agent: Keeps the checkpoint.
        job: Whose run.
        epoch: Of which checkpoint.
        output: Where to write the outputs, or the state.
        only_state: Show the checkpoint instead.
        as_json: Print a document.

    Raises:
        JobNotFound: Unknown, or no such checkpoint; the hint names those there are.
        CheckpointCorrupt: It is damaged, or its kernel has changed since.
    """
    with ControlLink(find_socket(agent.socket), agent.timeout_s) as link:
        blob = fetched(link, Fetch(job, epoch), f"the checkpoint of {job}")
        before = _before(link, job)
    try:
        found = decode_checkpoint(blob)
    except CheckpointCorrupt as error:
        raise CheckpointCorrupt(
            f"the checkpoint of epoch {epoch} of {job}: {error.message}",
            hint="'qallow-agent jobs JOB' shows the others",
        ) from error
    facts: dict[str, Any] = {"job": job, "epoch": epoch, "tick": found.tick,
                             "digest": blob_digest(blob)}  # fmt: skip
    if only_state:
        return _show_state(found, facts, output, as_json=as_json)
    from qallow_agent.client.session import connect  # noqa: PLC0415 - brings zmq

    with closing(connect(str(find_socket(agent.socket)), agent.timeout_s)) as mesh:
        outcome = mesh.replay(blob).result(_LONG_S)
    arrays = {name: np.asarray(value) for name, value in outcome.values.items()}
    same = None if before is None else fingerprint(arrays) == fingerprint(before)
    facts |= {"where": outcome.where, "sha256": fingerprint(arrays), "identical": same}
    if output is not None:
        deliver(output, save_single(arrays), {"schema": "qallow.replay/v1", **facts})
    if as_json:
        emit("qallow.replay/v1", facts | {"values": inline(arrays)})
    else:
        show_outputs(arrays)
        note(f"replayed from tick {found.tick:,} on {outcome.where}: {_verdict(same)}")
    return EXIT_FAILED if same is False else EXIT_OK


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the hex SHA-256 of arrays: names, dtypes, shapes and every bit."""
    hashed = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        hashed.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def _verdict(same: bool | None) -> str:
    if same is None:
        return "the job's own result is not retained, so there is nothing to compare it with"
    if same:
        return "bit-identical to the job's result (same SHA-256)"
    return "NOT identical to the job's result: another kind of device may have computed that"


def _show_state(
    found: Checkpoint, facts: dict[str, Any], output: Path | None, *, as_json: bool
) -> int:
    arrays = {
        each.name: np.frombuffer(each.data, "<" + each.dtype).reshape(each.shape)
        for each in found.sections
    }
    facts |= {"previous": found.previous, "parents": list(found.parents),
              "parameters": dict(found.scalars)}  # fmt: skip
    if output is not None:
        deliver(output, save_single(arrays), {"schema": "qallow.checkpoint/v1", **facts})
    if as_json:
        emit("qallow.checkpoint/v1", facts | {"state": inline(arrays)})
        return EXIT_OK
    pairs([(name, str(value)) for name, value in facts.items()])
    show_outputs(arrays)
    return EXIT_OK


def _before(link: ControlLink, job: JobId) -> dict[str, np.ndarray] | None:
    """Return the job's own result, if it is retained."""
    try:
        return retained_arrays(link, job)
    except (JobNotFound, JobRejected):
        return None
