"""What a runner does with long runs: states on the way, going on from one, refusing a bad one."""

from typing import Any

import pytest
from msgspec.structs import replace

from qallow_agent.jobs.parcels import STATE, ArrayHead, Fault, TaskHead
from qallow_agent.kernels.registry import load_catalog
from qallow_agent.kernels.state import decode_checkpoint, encode_checkpoint
from qallow_agent.runtime import workshop
from qallow_agent.runtime.workshop import Cut, Done, Workshop

pytestmark = pytest.mark.timeout(120)  # it compiles where no cache has the kernel

SCALARS = {"ticks": 400_000, "pockets": 8, "coupling": 0.001, "record_every": 100_000}


@pytest.fixture(scope="module")
def shop() -> Workshop:
    return Workshop(load_catalog((), ()), "cpu", 1 << 30)


def run(shop: Workshop, every: int, since: bytes = b"", **changes: Any) -> tuple[Done, list[bytes]]:
    states: list[bytes] = []
    heads = (ArrayHead(STATE, "u1", (len(since),)),) if since else ()
    task = TaskHead(3, 2, 1, SCALARS | changes, (), heads)
    cut = Cut(every, "lease-a", lambda _task, blob: states.append(blob))
    return shop.run("harmonic", task, (since,) if since else (), None, cut), states


def fault_of(done: Done) -> Fault:
    assert done.fault is not None
    return done.fault


def test_a_run_with_states_gives_the_bytes_of_a_run_without(shop: Workshop) -> None:
    plain, none = run(shop, 0)
    cut, states = run(shop, 10_000)
    assert none == []
    assert states
    assert (cut.small, cut.plan) == (plain.small, plain.plan)
    found = decode_checkpoint(states[-1])
    assert found.parents[0] == "attempt:lease-a/3.2"
    assert found.kernel_hash == load_catalog((), ()).entry("harmonic").hash


def test_a_run_that_goes_on_counts_only_what_it_did(shop: Workshop) -> None:
    whole, states = run(shop, 10_000)
    last = decode_checkpoint(states[-1])
    rest, later = run(shop, 10_000, states[-1])
    assert rest.small == whole.small
    assert rest.share == pytest.approx(1 - last.tick / SCALARS["ticks"])
    assert (whole.share, len(later) < len(states)) == (1.0, True)


def test_a_bad_state_is_refused_by_name_and_the_runner_lives(shop: Workshop) -> None:
    _, (first, *_) = run(shop, 10_000)
    state = decode_checkpoint(first)
    other = encode_checkpoint(replace(state, kernel_hash="cd" * 32))
    for blob, why in (
        (first[:-1], "announces"),
        (first[:-1] + bytes([first[-1] ^ 1]), "do not match their hash"),
        (other, "belongs to kernel"),
        (encode_checkpoint(replace(state, tick=10**9)), "other parameters"),
        (encode_checkpoint(replace(state, sections=())), "no state of this kernel"),
    ):
        fault = fault_of(run(shop, 0, blob)[0])
        assert fault.code == "checkpoint-corrupt"
        assert why in fault.message
    assert run(shop, 0, first)[0].fault is None


@pytest.mark.parametrize("section", ["counts", "levels", "ring"])
def test_numbers_of_madness_in_a_state_harm_nobody(shop: Workshop, section: str) -> None:
    _, (first, *_) = run(shop, 10_000)
    state = decode_checkpoint(first)
    mad = tuple(
        replace(each, data=b"\xff" * len(each.data)) if each.name == section else each
        for each in state.sections
    )
    done, _ = run(shop, 0, encode_checkpoint(replace(state, sections=mad)))
    assert done.fault is None
    assert run(shop, 0, first)[0].small == run(shop, 0)[0].small


def test_a_device_that_cannot_go_on_from_a_state_does_all_of_the_run(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, (first, *_) = run(shop, 10_000)
    other = Workshop(load_catalog((), ()), "cpu", 1 << 30)
    monkeypatch.setattr(workshop, "load_stage", lambda *_: None)
    done, states = run(other, 10_000, first)
    assert (done.small, done.share, states) == (whole.small, 1.0, [])
