"""Makers of leases, orders and answers for the tests of jobs."""

import random
from types import SimpleNamespace

import pytest

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Instant
from qallow_agent.jobs.leases import sign_lease
from qallow_agent.jobs.messages import Demand, JobOptions, Lease, SubmitJob
from qallow_agent.jobs.model import Terms
from qallow_agent.jobs.parcels import Fault, ResultHead
from qallow_agent.jobs.work import Dispatch, Piece

HASH = "a" * 64
KEY = b"k" * 32
IDENTITY = SigningKey(b"\x01" * 32)


def at(seconds: float) -> Instant:
    return Instant(seconds, int((1_700_000_000 + seconds) * 1e9))


def make_lease(name: str, job: str = "job-1", node: str = "box", **changes: object) -> Lease:
    fields = {
        "id": LeaseId(name), "job": JobId(job), "node": NodeId(node), "node_name": node,
        "device": "cpu0", "runner": RunnerId(f"runner-{name}"), "kernel": "harmonic",
        "kernel_hash": HASH, "credits": 1024, "ttl_s": 9.0, "expires_s": 0.0,
        "hosts": ("127.0.0.1",), "port": 4000, "runner_key": KEY, "submitter_key": KEY,
    }  # fmt: skip
    return Lease(**{**fields, **changes})  # type: ignore[arg-type]


def order(points: int = 100, slots: int = 2, **options: object) -> SubmitJob:
    return SubmitJob(
        "harmonic", points, {"ticks": 400, "coupling": 0.001}, slots,
        JobOptions(**options),  # type: ignore[arg-type]
    )  # fmt: skip


def answer(piece: Piece, seconds: float = 0.001, fault: str = "") -> ResultHead:
    why = Fault(fault, "it raised", "", "Traceback") if fault else None
    return ResultHead(piece.number, piece.attempt, seconds, (), why)


def pieces(orders: list[Dispatch]) -> list[Piece]:
    return [piece for each in orders for piece in each.pieces]


@pytest.fixture
def tools() -> SimpleNamespace:
    return SimpleNamespace(
        at=at, lease=make_lease, order=order, answer=answer, pieces=pieces, HASH=HASH, KEY=KEY,
        IDENTITY=IDENTITY, sign=sign_lease, terms=Terms(HASH, Demand(1e6, 1 << 20)),
        rng=random.Random(7),
    )  # fmt: skip
