"""``receipt``: what a job was and did, as a file that proves it without the mesh."""

from pathlib import Path
from typing import Any

import click

from qallow_agent.base.errors import EXIT_FAILED, EXIT_OK, Malformed, UsageError, WireError
from qallow_agent.cli.options import LocalAgent, asks_agent, json_option
from qallow_agent.cli.output import emit, note, pairs
from qallow_agent.cli.receiptview import claims, document, gaps, lines, listed, standing_of


@click.group()
def receipt() -> None:
    """Show what a job was and did, and prove it offline."""


@receipt.command(epilog="Example: qallow-agent receipt show job-gamhuux2bkzrgjky -o job.receipt")
@click.argument("job")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the receipt with its proof to a file.")  # fmt: skip
@click.option("--wait-certified", "certify", is_flag=True,
              help="Wait until a quorum of the mesh has cosigned it.")  # fmt: skip
@click.option("--trust", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write whose cosignatures are needed, as a C2SP tlog-policy.")  # fmt: skip
@asks_agent
def show(
    agent: LocalAgent,
    job: str,
    output: Path | None,
    trust: Path | None,
    as_json: bool,
    *,
    certify: bool,
) -> None:
    """Show the receipt of a job of this node; it is there some seconds after the job's end."""
    from qallow_agent.client.receipts import fetch_receipt  # noqa: PLC0415 - only here a socket
    from qallow_agent.config.load import find_socket  # noqa: PLC0415

    found = fetch_receipt(find_socket(agent.socket), lambda: job, agent.timeout_s, certify=certify)
    if output is not None:
        found.save(output)
    if trust is not None:
        _write_trust(found.file, trust)
    if as_json:
        emit("qallow.receipt/v1", document(found.file) | {
            "standing": found.standing,
            "certified": found.certified,
            "file": found.data.decode(),
        })  # fmt: skip
        return
    pairs(lines(found.file, found.standing))
    if output is not None:
        note(f"wrote {output}")


@receipt.command(epilog="Example: qallow-agent receipt verify job.receipt --key "
                 "qallow-agent/MESH/NODE+1a2b3c4d+AQAB... --outputs out/")  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", "keys", metavar="VKEY", multiple=True,
              help="The key of the log, as 'receipt show' says it; again for more.")  # fmt: skip
@click.option("--policy", "policy_file", metavar="FILE",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="A C2SP tlog-policy: trusted logs, witnesses and quorum.")  # fmt: skip
@click.option("--node", default="", metavar="ID", help="The node whose job it is said to be.")
@click.option("--mesh", default="", metavar="ID",
              help="The mesh whose committee must have certified it.")  # fmt: skip
@click.option("--outputs", metavar="DIR|FILE", type=click.Path(path_type=Path, exists=True),
              help="Results that 'run -o' or 'map -o' wrote, to be compared.")  # fmt: skip
@json_option
def verify(file: Path, outputs: Path | None, as_json: bool, **given: Any) -> int:
    """Check a receipt offline and say what is proved by it, and what is not.

    The exit code is 0 only when it is proved to whoever trusts the key, policy, node or mesh that
    was given, and the outputs, where there are some, are those of the receipt.
    """
    from qallow_agent.ledger.credence import examine  # noqa: PLC0415 - brings cryptography

    found = _read(file)
    finding = examine(found, _trust(**given))
    same = None if outputs is None else _compare(outputs, finding.receipt)
    proved, missing = claims(finding, outputs, same), gaps(finding, outputs, same)
    passed = finding.trusted and same is not False
    if as_json:
        emit("qallow.verified/v1", document(found) | {
            "passed": passed, "trusted": finding.trusted, "outputs_match": same,
            "proved": proved, "not_proved": missing,
        })  # fmt: skip
        return EXIT_OK if passed else EXIT_FAILED
    pairs(lines(found, standing_of(finding)))
    click.echo()
    pairs([*listed("proved", proved), *listed("not proved", missing)])
    return EXIT_OK if passed else EXIT_FAILED


def _write_trust(found: Any, path: Path) -> None:
    """Write who must have cosigned a head of the log in which a receipt stands.

    Raises:
        UsageError: No committee has certified it yet, or the file cannot be written.
    """
    from qallow_agent.ledger.certificate import trust_policy  # noqa: PLC0415 - brings cryptography

    card, committee = found.papers.card, found.papers.committee
    if card is None or committee is None:
        raise UsageError("no committee has certified this yet", hint="add --wait-certified")
    try:
        path.write_text(trust_policy(card, committee.manifest), encoding="utf-8")
    except OSError as error:
        why = f"{path} cannot be written: {error.strerror}"
        raise UsageError(why, hint="name a file in a folder of yours") from error


def _read(file: Path) -> Any:
    """Return the receipt in a file.

    Raises:
        Malformed: The file holds none.
    """
    from qallow_agent.ledger.receiptfile import parse_receipt  # noqa: PLC0415 - as above

    try:
        return parse_receipt(file.read_bytes())
    except WireError as error:
        hint = error.hint or "'qallow-agent receipt show JOB -o FILE' writes one"
        raise Malformed(f"{file} is no receipt: {error.message}", hint=hint) from error


def _trust(keys: tuple[str, ...], policy_file: Path | None, node: str, mesh: str) -> Any:
    """Return what the command line says is trusted."""
    from qallow_agent.ledger.credence import Trust  # noqa: PLC0415 - brings cryptography
    from qallow_agent.ledger.policy import parse_policy  # noqa: PLC0415 - brings cryptography
    from qallow_agent.ledger.signing import parse_note_key  # noqa: PLC0415

    policy = None if policy_file is None else parse_policy(_text(policy_file))
    return Trust(tuple(parse_note_key(each) for each in keys), policy, node, mesh)


def _compare(place: Path, receipt: Any) -> bool:
    from qallow_agent.client.reprint import find_results, fingerprint_of  # noqa: PLC0415 - NumPy

    return bool(fingerprint_of(find_results(place), receipt) == receipt.outputs)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="name a policy file") from error
