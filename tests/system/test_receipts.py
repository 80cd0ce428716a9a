"""Receipts of real jobs by real agents, verified when no agent is left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qallow_agent.client.receipts import JobReceipt
from qallow_agent.client.session import connect
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

SWEEP = ("map", "harmonic", "--set", "pockets=8", "--set", "ticks=20")
Qallow = Callable[..., Any]


def receipt_of(agent: AgentProcess, job: str, file: Path, *words: object) -> dict[str, Any]:
    return agent.ask("receipt", "show", job, "-o", file, "--timeout", "30s", *words, within_s=60)


def test_a_receipt_is_verified_after_its_agent_was_killed(
    spawn: Callable[..., AgentProcess], able: Callable[..., None], qallow: Qallow, tmp_path: Path
) -> None:
    agent = spawn("solo")
    able(agent)
    files = {"npz": tmp_path / "out", "csv": tmp_path / "out.csv"}
    shown: dict[str, dict[str, Any]] = {}
    for kind, output in files.items():
        sweep = f"coupling=0.0001:0.005:{5_000}"
        done = agent.run_cli(*SWEEP, "--sweep", sweep, "-o", output, within_s=60)
        assert done.returncode == 0, done.stderr
        job = agent.ask("jobs")["jobs"][-1]["job"]
        shown[kind] = receipt_of(agent, job, tmp_path / f"{kind}.receipt")
    told = shown["npz"]["receipt"]
    assert (told["points"], told["done"], told["end"]) == (5_000, 5_000, "succeeded")
    assert told["outputs"] == shown["csv"]["receipt"]["outputs"] != ""
    assert told["inputs"] == shown["csv"]["receipt"]["inputs"] != ""
    assert told["executors"][0]["place"] == "solo/cpu0"
    ledger = shown["npz"]["ledger"]
    mesh, node = ledger["origin"].split("/")[1:]
    agent.kill()

    for kind, output in files.items():
        words = ("receipt", "verify", tmp_path / f"{kind}.receipt", "--outputs", output, "--json")
        for trust in (("--key", ledger["keys"][0]), ("--node", node)):
            done = qallow(*words, *trust)
            assert done.returncode == 0, done.stdout + done.stderr
            assert json.loads(done.stdout)["outputs_match"]
    with np.load(files["npz"] / "results.npz") as archive:
        arrays = dict(archive)
    arrays["avg_coherence"][4_999] += 1e-3
    np.savez(files["npz"] / "results.npz", **arrays)
    done = qallow(*words[:2], tmp_path / "npz.receipt", "--node", node, "--outputs", files["npz"])
    assert done.returncode == 1
    assert "NOT what was computed" in done.stdout
    spoilt = bytearray((tmp_path / "npz.receipt").read_bytes())
    spoilt[100] ^= 1
    (tmp_path / "npz.receipt").write_bytes(spoilt)
    assert qallow("receipt", "verify", tmp_path / "npz.receipt", "--mesh", mesh).returncode == 1


def test_one_job_has_one_fingerprint_in_whatever_way_it_is_run_and_read(
    lone: AgentProcess, able: Callable[..., None], tmp_path: Path
) -> None:
    able(lone)
    values = np.linspace(0.0001, 0.005, 300)
    fixed = {"pockets": 8, "ticks": 20}
    with connect(lone.socket) as mesh:
        found: list[JobReceipt] = []
        for read in (list, lambda r: list(r.blocks()), lambda r: r.save(tmp_path / "all.npz")):
            results = mesh.map("harmonic", {"coupling": values}, ordered=False, **fixed)
            read(results)
            found.append(results.receipt())
        assert len({each.receipt.outputs for each in found}) == 1
        assert len({each.receipt.inputs for each in found}) == 1
        assert len({each.receipt.job for each in found}) == 3
        futures = [mesh.submit("harmonic", coupling=float(v), **fixed) for v in values[:5]]
        together = futures[0].receipt()
        assert together.receipt.done == 5
        assert futures[4].receipt().receipt == together.receipt
        one = mesh.submit("harmonic", coupling=float(values[0]), **fixed)
        first = mesh.map("harmonic", {"coupling": values[:1]}, **fixed)
        assert len(list(first)) == 1
        assert one.receipt().receipt.outputs == first.receipt().receipt.outputs
        without = mesh.submit("harmonic", coupling=0.001, fingerprint=False, **fixed)
        assert without.receipt().receipt.outputs == b""
        node = mesh.node
    assert together.verify(node=node).receipt.kernel == "harmonic"
    together.save(tmp_path / "together.receipt")
    assert (tmp_path / "together.receipt").read_bytes() == together.data


def test_a_killed_executor_changes_no_fingerprint_and_a_pair_certifies(
    spawn: Callable[..., AgentProcess],
    able: Callable[..., None],
    eventually: Callable[..., Any],
    qallow: Qallow,
    tmp_path: Path,
) -> None:
    owner = spawn("owner")
    worker = spawn("worker", join=owner.invite())
    able(owner, 2)
    words = ("map", "moody", "--sweep", "mood=10:409:400", "--set", "seconds=0.02")
    calm = owner.run_cli(*words, "-o", tmp_path / "calm", within_s=60)
    assert calm.returncode == 0, calm.stderr
    job = owner.ask("jobs")["jobs"][-1]["job"]
    trust = tmp_path / "committee.policy"
    words_of_trust = ("--wait-certified", "--trust", trust)
    before = receipt_of(owner, job, tmp_path / "calm.receipt", *words_of_trust)
    assert before["certified"], before["standing"]

    def busy() -> bool:
        (job,) = [each for each in owner.ask("jobs")["jobs"] if each["state"] == "running"] or [{}]
        return bool(job.get("done", 0) > 40 and len(job["leases"]) > 1)

    sweep = owner.start_cli(*words, "-o", tmp_path / "wild")
    eventually(busy, 30, "both are at it")
    worker.kill()
    output, trouble = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, output + trouble
    job = owner.ask("jobs")["jobs"][-1]["job"]
    after = receipt_of(owner, job, tmp_path / "wild.receipt")
    assert after["receipt"]["outputs"] == before["receipt"]["outputs"] != ""
    assert after["receipt"]["inputs"] == before["receipt"]["inputs"]
    assert after["receipt"]["rerun"] > 0
    assert not after["certified"]
    owner.kill()
    mesh = before["ledger"]["origin"].split("/")[1]
    calm_file = tmp_path / "calm.receipt"
    done = qallow("receipt", "verify", calm_file, "--mesh", mesh, "--outputs", tmp_path / "wild")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "certified by 2 of 2 of the committee" in " ".join(done.stdout.split())
    done = qallow("receipt", "verify", calm_file, "--policy", trust)
    assert done.returncode == 0, done.stdout + done.stderr
    done = qallow("receipt", "verify", tmp_path / "wild.receipt", "--policy", trust)
    assert done.returncode == 1
    assert "the policy asks for 'committee'" in done.stderr
