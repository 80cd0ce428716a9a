"""``ledger tail|show|verify|export|restore``: a node's own log, by its files; no agent is asked."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import msgspec

from qallow_agent.base.errors import ConfigError, Malformed, UsageError
from qallow_agent.base.units import show_bytes
from qallow_agent.cli.bodies import decoded
from qallow_agent.cli.options import config_option, duration, json_option, set_option
from qallow_agent.cli.output import emit, pairs, table
from qallow_agent.cli.shelf import Shelf, find_shelf, reads_log
from qallow_agent.ledger.leaf import Leaf, parse_leaf
from qallow_agent.ledger.log import keys_of
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.policy import TrustPolicy, parse_policy
from qallow_agent.ledger.proofs import prove_inclusion, verify_inclusion
from qallow_agent.ledger.signing import NoteKey, parse_note_key
from qallow_agent.ledger.tiles import WIDTH, TiledTree, whole_entries
from qallow_agent.runtime.logaudit import KEYS, Findings, audit, export, newest
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.runtime.logprune import prune as delete
from qallow_agent.runtime.logrestore import restore as put_back
from qallow_agent.runtime.store import StateStore

_POLL_S = 0.5


@click.group()
def ledger() -> None:
    """Show, check and export this node's signed log of what it decided."""


@ledger.command(
    short_help="Print the newest entries.",
    epilog="Example: qallow-agent ledger tail -f",
)
@click.option("-n", "count", type=click.IntRange(0), default=20, show_default=True,
              help="How many.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows; JSON line by line.")
@reads_log
def tail(shelf: Shelf, count: int, follow: bool, as_json: bool) -> None:
    """Print the newest entries of the log; those behind the newest head are not signed yet."""
    signed = _signed(shelf.files)
    size = _written(shelf.files, signed)
    rows = [_row(index, entry) for index, entry in _entries(shelf.files, size - count, size)]
    if as_json and not follow:
        emit("qallow.ledger/v1", {"size": size, "signed": signed, "entries": rows})
        return
    if as_json:
        _print_lines(rows)
    else:
        table(_HEADERS, [_cells(row, signed) for row in rows], empty="the log is empty", wrap=True)
    while follow:
        time.sleep(_POLL_S)
        grown = _written(shelf.files, size)
        rows = [_row(index, entry) for index, entry in _entries(shelf.files, size, grown)]
        size = grown
        if as_json:
            _print_lines(rows)
        else:
            for row in rows:
                click.echo("  ".join(_cells(row, _signed(shelf.files))))


@ledger.command(
    short_help="Print one entry and the proof that it is signed.",
    epilog="Example: qallow-agent ledger show 12",
)
@click.argument("index", type=click.IntRange(0))
@reads_log
def show(shelf: Shelf, index: int, as_json: bool) -> None:
    """Print one entry, what it says, and whether the newest signed head covers it."""
    found = shelf.files.head()
    signed = found[1].size if found else 0
    size = _written(shelf.files, signed)
    if index >= size:
        raise UsageError(f"there is no entry {index}", hint=f"the log has {size} entries, from 0")
    [(_, entry)] = _entries(shelf.files, index, index + 1)
    row = _row(index, entry)
    row["hash"] = leaf_hash(entry).hex()
    row["signed"] = False
    if found is not None and index < signed:
        proof = prove_inclusion(index, signed, TiledTree(signed, shelf.files.read).node)
        verify_inclusion(leaf_hash(entry), index, signed, proof, found[1].root)
        row |= {"signed": True, "head": signed, "proof": [each.hex() for each in proof]}
    if as_json:
        emit("qallow.ledger.entry/v1", row)
        return
    covered = f"under the head of {signed} entries, {len(row.get('proof', ()))} hashes prove it"
    facts = {name: row[name] for name in ("index", "kind", "time", "not_before", "not_after")}
    facts |= {"node": row["node"], "policy": row["policy"], "leaf hash": row["hash"]}
    facts["signed"] = covered if row["signed"] else "not yet"
    facts |= {f"body {name}": value for name, value in row["body"].items()}
    pairs([(name, str(value)) for name, value in facts.items()])


@ledger.command(
    short_help="Prove the whole log anew, from its files alone.",
    epilog="Example: qallow-agent ledger verify exported/ --key log.vkey",
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="[DIR]", required=False)
@click.option("--key", "key", metavar="KEY", multiple=True,
              help="The log's verifier key, or a file of such keys; again for more.")  # fmt: skip
@click.option("--policy", "policy_file", type=click.Path(path_type=Path, dir_okay=False),
              help="A tlog-policy file: which log, how many of which witnesses.")  # fmt: skip
@config_option
@set_option
@json_option
def verify(
    folder: Path | None,
    key: tuple[str, ...],
    policy_file: Path | None,
    files: tuple[str, ...],
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read every entry, make every hash anew, and check every signature of the newest head."""
    shelf = find_shelf(folder, files, assignments)
    policy = _policy(policy_file)
    known = [*shelf.keys(), *(each for text in key for each in _keys(text))]
    if policy is not None:
        known += [*policy.logs, *policy.witnesses.values()]
    if not known:
        raise UsageError(
            "nobody says whose log this is",
            hint="give --key or --policy; the node's owner finds the key with 'ledger export', in "
            f"the file {KEYS}, and hands it over some other way than the log",
        )
    found = audit(shelf.files, list(dict.fromkeys(known)), policy)
    if as_json:
        emit("qallow.ledger.verify/v1", _document(found))
    else:
        _say(found)


@ledger.command(
    name="export",
    short_help="Copy the log for others to verify.",
    epilog="Example: qallow-agent ledger export /media/usb/log",
)
@click.argument("target", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@reads_log
def export_(shelf: Shelf, target: Path, as_json: bool) -> None:
    """Copy the log into a folder in the layout of C2SP tlog-tiles, or bring such a copy up to date.

    Serve the folder with any web server, or carry it: every client of tlog-tiles reads it.
    """
    keys = shelf.keys()
    checkpoint, written = export(shelf.files, target, keys)
    document = {
        "folder": str(target),
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "tiles": written,
        "keys": [key.encode() for key in keys],
    }
    if as_json:
        emit("qallow.ledger.export/v1", document)
        return
    click.echo(f"{checkpoint.size} entries of {checkpoint.origin} in {target}, {written} new tiles")
    for each in keys[:1]:
        click.echo(f"verifier key: {each.encode()}")


@ledger.command(
    short_help="Put a damaged log back from a copy.",
    epilog="Example: qallow-agent ledger restore /media/usb/mirrored/NODE",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--seen", type=click.IntRange(0), metavar="SIZE",
              help="The newest size its witnesses saw, when its checkpoint is gone.")  # fmt: skip
@config_option
@set_option
@json_option
def restore(
    folder: Path,
    seen: int | None,
    files: tuple[str, ...],
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Replace this node's damaged log by a copy, unless that would give it a second history.

    The agent must not run. The damaged files are kept beside.
    """
    shelf = find_shelf(None, files, assignments, may_be_gone=True)
    copy = find_shelf(folder, (), ())
    if shelf.seed is None:
        raise ConfigError("ledger.key is gone", hint="restore it first: nobody else has it")
    keys = keys_of(shelf.seed, newest(copy.files)[1].origin)
    with closing(StateStore(shelf.files.directory.parent.parent).open()):
        head, away = put_back(shelf.files, copy.files, keys, seen)
    if as_json:
        emit("qallow.ledger.restore/v1", {"size": head.size, "damaged": str(away or "")})
        return
    kept = f"; the damaged files are in {away}" if away else ""
    click.echo(f"{head.size} entries are back{kept}")


@ledger.command(
    short_help="Delete old entries; their hashes stay.",
    epilog="Example: qallow-agent ledger prune --older 365d",
)
@click.option("--older", "older_s", type=duration, metavar="DURATION", required=True,
              help="Entries younger than this stay.")  # fmt: skip
@reads_log
def prune(shelf: Shelf, older_s: float, as_json: bool) -> None:
    """Delete bundles of old entries; heads and hashes stay, so the rest is proved as before."""
    entries, size_bytes = delete(shelf.files, round((time.time() - older_s) * 1_000))
    if as_json:
        emit("qallow.ledger.prune/v1", {"entries": entries, "bytes": size_bytes})
        return
    click.echo(f"{entries} entries deleted, {show_bytes(size_bytes)}")


# --- reading --------------------------------------------------------------------------------------

_HEADERS = ("INDEX", "TIME", "KIND", "BYTES", "SIGNED", "WHAT")


def _signed(files: LogFiles) -> int:
    """Return how many entries the newest head covers."""
    found = files.head()
    return found[1].size if found else 0


def _written(files: LogFiles, at_least: int) -> int:
    """Return how many entries are written, those that no head covers included."""
    index = at_least // WIDTH
    while len(held := whole_entries(files.bundle(index))) == WIDTH:
        index += 1
    return index * WIDTH + len(held)


def _entries(files: LogFiles, first: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield entries with their indices."""
    first = max(first, 0)
    for index in range(first // WIDTH, -(-end // WIDTH)):
        for place, entry in enumerate(whole_entries(files.bundle(index)), index * WIDTH):
            if first <= place < end:
                yield place, entry


def _row(index: int, entry: bytes) -> dict[str, Any]:
    try:
        leaf = parse_leaf(entry)
    except Malformed as error:
        return {"index": index, "kind": "unreadable", "time": "", "bytes": len(entry)} | {
            "not_before": "", "not_after": "", "node": "", "policy": "",
            "body": {"error": error.message},
        }  # fmt: skip
    return {
        "index": index,
        "kind": leaf.kind.name.lower(),
        "time": _time(leaf.stamp.wall_ms),
        "bytes": len(entry),
        "not_before": _time(leaf.earliest_us // 1_000) if leaf.earliest_us else "unknown",
        "not_after": _time(leaf.latest_us // 1_000) if leaf.earliest_us else "unknown",
        "node": leaf.node,
        "policy": leaf.policy.hex() if any(leaf.policy) else "none",
        "body": decoded(leaf),
    }


def _cells(row: dict[str, Any], signed: int) -> tuple[str, ...]:
    what = ", ".join(f"{name} {value}" for name, value in row["body"].items())
    return (
        str(row["index"]),
        row["time"],
        row["kind"],
        str(row["bytes"]),
        "yes" if row["index"] < signed else "not yet",
        what,
    )


def _print_lines(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        click.echo(msgspec.json.encode(row).decode())


def _time(wall_ms: int) -> str:
    try:
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(wall_ms // 1_000))
    except (OverflowError, OSError, ValueError):
        return f"{wall_ms} ms"
    return f"{shown}.{wall_ms % 1_000:03d}Z"


# --- verifying ------------------------------------------------------------------------------------


def _keys(text: str) -> list[NoteKey]:
    """Return the keys that a word or a file of them gives.

    Raises:
        ConfigError: It gives none.
    """
    path = Path(text)
    try:
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [text]
        return [parse_note_key(line.strip()) for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError, Malformed) as error:
        raise ConfigError(
            f"{text[:80]!r} gives no verifier key: {error}", hint="write it as name+id+key"
        ) from error


def _policy(path: Path | None) -> TrustPolicy | None:
    if path is None:
        return None
    try:
        return parse_policy(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the policy {path} cannot be read: {error}", hint="name a readable file"
        ) from error


def _document(found: Findings) -> dict[str, Any]:
    return {
        "origin": found.checkpoint.origin,
        "size": found.checkpoint.size,
        "root": found.checkpoint.root.hex(),
        "signed_by": list(found.signers),
        "other_signatures": list(found.strangers),
        "kinds": dict(sorted(found.kinds.items())),
        "bytes": found.size_bytes,
        "first": _when(found.first),
        "last": _when(found.last),
        "unsigned": found.unsigned,
        "pruned": found.pruned,
    }


def _when(leaf: Leaf | None) -> str | None:
    return _time(leaf.stamp.wall_ms) if leaf else None


def _say(found: Findings) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.kinds.items()))
    rows = [
        ("log", found.checkpoint.origin),
        ("entries", f"{found.checkpoint.size}, all as signed ({show_bytes(found.size_bytes)})"),
        ("kinds", kinds or "none"),
        ("root", found.checkpoint.root.hex()),
        ("signed by", ", ".join(found.signers)),
    ]
    if found.strangers:
        rows.append(("not checked", f"signatures of {', '.join(found.strangers)}"))
    if found.first and found.last:
        rows.append(("written", f"{_when(found.first)} to {_when(found.last)}"))
    if found.pruned:
        rows.append(("deleted", f"{found.pruned} entries by rule; their hashes are proved"))
    if found.unsigned:
        rows.append(("not signed", f"{found.unsigned} newer entries; a running agent signs soon"))
    pairs(rows)
