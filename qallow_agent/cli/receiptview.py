"""Receipts as people and programs read them, and in words what a file proves."""

import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qallow_agent.base.units import show_joules, show_seconds
from qallow_agent.cli.output import MIN_WIDTH
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.credence import Finding
from qallow_agent.ledger.receipt import Admission, Energy, Executor, Receipt, unpack
from qallow_agent.ledger.receiptfile import ReceiptFile, open_receipt

_SHOWN: Final = 8
_FEW: Final = 3
_INEXACT: Final = (".csv", ".parquet")
_LABEL: Final = 13
_MICRO: Final = 1e-6

Lines = list[tuple[str, str]]


def lines(file: ReceiptFile, standing: str) -> Lines:
    """Return what a receipt says, in lines of at most 80 columns.

    Args:
        file: The receipt's.
        standing: How it is certified.
    """
    leaf, receipt = open_receipt(file.entry)
    head = parse_checkpoint(file.head.text)
    rows = [
        ("job", f"{receipt.job}, {receipt.end}"),
        ("kernel", f"{receipt.kernel}, code {receipt.kernel_hash[:16]}"),
        ("evaluations", _evaluations(receipt)),
        ("when", _when(receipt)),
    ]
    for executor in receipt.executors[:_SHOWN]:
        rows += _executor(executor)
    more = len(receipt.executors) - _SHOWN + receipt.left_out
    if more > 0:
        rows.append(("", f"and {more} more devices"))
    if len(receipt.executors) != 1:
        rows.append(("energy", _energy(receipt.energy) if receipt.executors else "none was used"))
    if receipt.replicas:
        rows.append(("audited", f"each audited task on {receipt.replicas} devices"))
    if receipt.validators:
        rows.append(("validators", f"{len(receipt.validators)} assented"))
    if receipt.flags:
        rows.append(("flags", ", ".join(receipt.flags)))
    rows += [
        ("inputs", receipt.inputs.hex() or "not hashed"),
        ("outputs", receipt.outputs.hex() or "not hashed"),
        ("ledger", f"entry {file.index} of {head.size}, node {leaf.node}"),
        ("log", head.origin),
    ]
    if file.papers.keys:
        rows.append(("key", file.papers.keys[0]))
    rows.append(("quorum", standing))
    return wrapped(rows)


def listed(name: str, sentences: Sequence[str]) -> Lines:
    """Return sentences behind one label, each on lines of its own."""
    return wrapped([(name if not at else "", each) for at, each in enumerate(sentences)])


def document(file: ReceiptFile) -> dict[str, Any]:
    """Return a receipt for programs; hashes are hexadecimal."""
    leaf, receipt = open_receipt(file.entry)
    head = parse_checkpoint(file.head.text)
    return {
        "receipt": msgspec.to_builtins(_named(receipt)),
        "ledger": {
            "origin": head.origin,
            "index": file.index,
            "size": head.size,
            "keys": list(file.papers.keys),
            "policy": leaf.policy.hex(),
            "earliest_us": leaf.earliest_us,
            "latest_us": leaf.latest_us,
        },
    }


def spelt_out(body: bytes) -> dict[str, Any]:
    """Return what the body of a leaf says.

    Raises:
        Malformed: It is no receipt.
    """
    found: dict[str, Any] = _named(unpack(body))
    return found


def standing_of(finding: Finding) -> str:
    """Return how a receipt is certified, in a few words."""
    if not finding.members:
        return "not certified"
    if finding.members == 1:
        return "solo: its node is its own only witness"
    return f"certified by {len(finding.certified_by)} of {finding.members} ({finding.standing})"


def claims(finding: Finding, outputs: Path | None, same: bool | None) -> list[str]:
    """Return what a file proves, a sentence each."""
    said = [f"it is entry {finding.index} of a log, under a head of {finding.head.size} entries"]
    if finding.signed:
        said.append(f"the head is signed by the log {finding.head.origin}")
    if finding.vouched:
        said.append(f"node {finding.leaf.node} vouches for the key of that log")
    if finding.cosigned_by:
        said.append(f"cosigned by {', '.join(finding.cosigned_by)}")
    if finding.asked:
        said.append(f"that is what the policy asks of witnesses: {finding.asked}")
    if finding.certified_by:
        count = f"{len(finding.certified_by)} of {finding.members}"
        said.append(f"certified by {count} of the committee of mesh {finding.mesh}")
    if same:
        said.append(f"{outputs} holds what was computed, bit by bit")
    return said


def gaps(finding: Finding, outputs: Path | None, same: bool | None) -> list[str]:
    """Return what a file does not prove, a sentence each."""
    said: list[str] = []
    if not finding.trusted:
        said.append(
            "that this is the node you mean: the file names it itself; give --node, --key, --mesh "
            "or --policy"
        )
    if not finding.cosigned_by and not finding.certified_by:
        said.append("that the log shows everybody the same: nobody has witnessed it")
    elif finding.members == 1:
        said.append("that the log shows everybody the same: its node is its own only witness")
    elif finding.certified_by and not finding.standing.startswith("f ="):
        said.append(f"anything against a member that lies: the committee is {finding.standing}")
    if finding.strangers:
        more = "..." if len(finding.strangers) > _FEW else ""
        shown = ", ".join(finding.strangers[:_FEW]) + more
        said.append(f"{len(finding.strangers)} further signatures, by keys unknown here: {shown}")
    if same is False and outputs is not None:
        said.insert(0, f"NOT what was computed: {outputs}")
        if outputs.suffix.lower() in _INEXACT:
            said.insert(1, "(such a file may hold some numbers otherwise, like NaN; NPZ does not)")
    elif same is None:
        said.append("that any file holds the outputs: give --outputs")
    said.append("that sensors told the truth, or what the kernel is for")
    return said


def _executor(executor: Executor) -> Lines:
    did = [f"{executor.points:,} evaluations"] if executor.points else []
    if executor.ops:
        did.append(f"{executor.ops:.3g} ops")
    if executor.busy_us:
        did.append(f"{show_seconds(executor.busy_us * _MICRO)} busy")
    rows = [("on", f"{executor.place}: {', '.join(did) or 'nothing was told'}")]
    rows.append(("", _energy(executor.energy)))
    if executor.admission is not None:
        rows.append(("", _admission(executor.admission)))
    return rows


def _admission(admitted: Admission) -> str:
    parts = zip("SCH", (admitted.s, admitted.c, admitted.h), strict=True)
    culprits = (*admitted.culprits, "", "", "")
    told = [
        f"{name} {value / 1000:.3f}" + (f" ({culprits[at]})" if culprits[at] else "")
        for at, (name, value) in enumerate(parts)
    ]
    where = f", entry {admitted.index} of its log" if admitted.index >= 0 else ""
    return f"admitted at E {admitted.e / 1000:.3f}: {', '.join(told)}{where}"


def _energy(energy: Energy) -> str:
    unknown = energy.provenance == "unknown"
    if unknown and not energy.gross_uj:
        return f"energy unknown: {energy.why}" if energy.why else "energy unknown"
    low, high = (show_joules(each * _MICRO) for each in (energy.low_uj, energy.high_uj))
    gross, net = (show_joules(each * _MICRO) for each in (energy.gross_uj, energy.net_uj))
    bounds = f"{low} or more" if unknown else f"{low} to {high}"
    known = "a part unknown" if unknown else energy.provenance
    return f"{gross} gross, {net} net of idle, {bounds}; {known}"


def _evaluations(receipt: Receipt) -> str:
    asked = f" of {receipt.points:,}" if receipt.points else ""
    return f"{receipt.done:,}{asked} done, {receipt.failed:,} failed, {receipt.rerun:,} run again"


def _when(receipt: Receipt) -> str:
    begin = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(receipt.submitted_ms / 1000))
    took = show_seconds((receipt.ended_ms - receipt.submitted_ms) / 1000)
    known = receipt.bound_ms >= 0
    bound = f"within {receipt.bound_ms} ms" if known else "by a clock that nobody vouches for"
    return f"{begin} UTC, for {took}; {bound}"


def _named(value: Any) -> Any:
    """Return a struct as a dictionary by name, bytes as hexadecimal text."""
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple | list):
        return [_named(each) for each in value]
    return value.hex() if isinstance(value, bytes) else value


def wrapped(rows: Lines) -> Lines:
    """Return rows whose texts fit beside their labels; hashes and keys are not broken."""
    found: Lines = []
    for name, text in rows:
        parts = textwrap.wrap(
            text, MIN_WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False
        )
        found += [(name if not at else "", part) for at, part in enumerate(parts or [""])]
    return found
