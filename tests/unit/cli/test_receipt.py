import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qallow_agent.cli.main import main
from qallow_agent.cli.receiptview import lines
from qallow_agent.client.fingerprint import SweepPrint
from qallow_agent.client.results import Block
from qallow_agent.client.toll import Toll
from qallow_agent.jobs.parcels import ArrayHead
from qallow_agent.ledger.receipt import Column, Receipt
from qallow_agent.ledger.signing import log_key
from qallow_agent.testing.receipts import LOG, MESH, NODE, ORIGIN, entry_of, example, file_of

KEY = log_key(ORIGIN, LOG).encode()
Keep = Callable[..., Path]


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Return a way to write a receipt's file."""

    def write(cosigners: int = 0, *, named: bool = True, **changes: object) -> Path:
        path = tmp_path / "job.receipt"
        entry = entry_of(example(**changes))  # type: ignore[arg-type]
        path.write_bytes(file_of(entry, cosigners=cosigners, named=named).encode())
        return path

    return write


def test_a_receipt_is_shown_in_eighty_columns() -> None:
    rows = lines(file_of(entry_of(example(12))), "certified by 3 of 4 (f = 1)")
    text = [f"{name:<12} {part}" for name, part in rows]
    assert all(len(line) <= 80 for line in text if "qallow-agent/" not in line)
    whole = " ".join(part for _, part in rows)
    assert "job-gamhuux2bkzrgjky, succeeded" in whole
    assert "990 of 1,000 done, 10 failed, 3 run again" in whole
    assert "2.5 J gross, 1.25 J net of idle" in whole
    assert "admitted at E 2.970: S 0.970 (s2), C 1.000 (c1), H 1.000 (h1), entry" in whole
    assert "and 4 more devices" in whole
    assert "certified by 3 of 4" in whole


def test_verify_says_what_is_proved_and_what_is_not(
    keep: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["receipt", "verify", str(keep()), "--key", KEY]) == 0
    said = capsys.readouterr().out
    assert "it is entry 1 of a log, under a head of 2 entries" in said
    assert "the head is signed by the log" in said
    assert "nobody has witnessed it" in said
    assert "that any file holds the outputs: give --outputs" in said
    assert "that sensors told the truth" in said


def test_verify_believes_a_committee_of_the_mesh_that_was_named(
    keep: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["receipt", "verify", str(keep(3)), "--mesh", MESH, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "qallow.verified/v1"
    assert found["passed"]
    assert f"certified by 3 of 4 of the committee of mesh {MESH}" in found["proved"]
    assert found["receipt"]["executors"][0]["energy"]["gross_uj"] == 2_500_000


def test_verify_without_any_trust_passes_nothing(
    keep: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["receipt", "verify", str(keep(4))]) == 1
    assert "that this is the node you mean" in capsys.readouterr().out


def test_verify_refuses_another_key_node_or_policy_with_the_reason(
    keep: Keep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy"
    policy.write_text(f"log {KEY}\nquorum none\n")
    file = str(keep())
    assert main(["receipt", "verify", file, "--policy", str(policy)]) == 0
    assert main(["receipt", "verify", file, "--node", NODE]) == 0
    assert main(["receipt", "verify", file, "--node", "a" * 26]) == 1
    assert "the receipt is of node" in capsys.readouterr().err
    assert main(["receipt", "verify", file, "--key", "nonsense"]) == 1
    assert "is no verifier key" in capsys.readouterr().err
    policy.write_text("log x\n")
    assert main(["receipt", "verify", file, "--policy", str(policy)]) == 78
    (tmp_path / "job.receipt").write_bytes(b"junk")
    assert main(["receipt", "verify", file]) == 1
    said = capsys.readouterr().err
    assert "is no receipt: a proof file does not begin with" in said
    assert "fix: 'qallow-agent receipt show JOB -o FILE' writes one" in said


def test_verify_compares_results_with_the_receipt(
    keep: Keep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.arange(10.0)
    printed = SweepPrint(10, Toll())
    printed.done(Block([ArrayHead("y", "f8", (10,))], [values.tobytes()], points=10))
    file = str(keep(outputs=printed.root(), columns=(Column("y", "f8", ()),), points=10))
    results = tmp_path / "results.npz"
    np.savez(results, point=np.arange(10), y=values)
    words = ["receipt", "verify", file, "--node", NODE, "--outputs", str(tmp_path)]
    assert main(words) == 0
    assert "holds what was computed, bit by bit" in capsys.readouterr().out
    np.savez(results, point=np.arange(10), y=values + 1e-12)
    assert main(words) == 1
    assert "NOT what was computed" in capsys.readouterr().out


def test_the_page_on_receipts_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parents[3] / "docs" / "receipts.md").read_text(encoding="utf-8")
    rows = lines(file_of(entry_of(example()), cosigners=3), "certified by 3 of 4 (f = 1)")
    for name, text in rows:
        assert f"{name:<11}  {text}".rstrip() in page
    for field in Receipt.__struct_fields__:
        assert f"`{field}`" in page
