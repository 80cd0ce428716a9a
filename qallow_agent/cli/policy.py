"""``policy show|set|record|test|override|validate``: by which rules this node and its mesh work."""

from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from qallow_agent.base.errors import ConfigError, UsageError
from qallow_agent.base.message import Message
from qallow_agent.base.units import show_seconds
from qallow_agent.cli.options import LocalAgent, asks_agent, duration, json_option
from qallow_agent.cli.output import emit, note, pairs, table
from qallow_agent.cli.policy_show import say_policy
from qallow_agent.config.policies import read_mesh_policy, read_owner_policy
from qallow_agent.config.policy_text import mesh_text, owner_text
from qallow_agent.ethics import messages as ethics
from qallow_agent.ethics.mesh_policy import (
    MAX_DOCUMENT_BYTES,
    PRESETS,
    MeshPolicy,
    encode_policy,
)
from qallow_agent.ethics.owner import MAX_OWNER_BYTES, OwnerPolicy, encode_owner

Held = TypeVar("Held", MeshPolicy, OwnerPolicy)


@click.group()
def policy() -> None:
    """Show, set and try out the rules by which work is admitted."""


@policy.command(
    short_help="Print what is in force here, and who says so.",
    epilog="Example: qallow-agent policy show --toml > policy.toml",
)
@click.option("--toml", "as_toml", is_flag=True, help="The mesh's policy, to be edited and set.")
@click.option("--local", is_flag=True, help="With --toml: this node's own policy instead.")
@asks_agent
def show(agent: LocalAgent, as_toml: bool, local: bool, as_json: bool) -> None:
    """Print the policy in force here, each value with who says so."""
    if local and not as_toml:
        raise UsageError("--local says what --toml prints", hint="policy show --toml --local")
    report = agent.report(ethics.GetPolicy())
    if as_json:
        emit(report.schema, report.document)
    elif as_toml:
        said = report.document
        click.echo(owner_text(_owner_of(said)) if local else mesh_text(mesh_of(said)), nl=False)
    else:
        say_policy(report.document)


@policy.command(
    "set",
    short_help="Sign a policy for the mesh, or set this node's own.",
    epilog="Examples: qallow-agent policy set mesh.toml; qallow-agent policy set --local own.toml",
)
@click.argument("file", required=False)
@click.option("--local", metavar="FILE", help="The owner's policy of this node; '' for none.")
@click.option(
    "--preset",
    type=click.Choice([*PRESETS, "auto"]),
    help="What kind of box this node is; auto: as its settings say.",
)
@asks_agent
def set_(
    agent: LocalAgent, file: str | None, local: str | None, preset: str | None, as_json: bool
) -> None:
    """Sign the mesh's policy in FILE, which needs the mesh's key, or change this node's own.

    What an owner sets with --local can only be stricter than the mesh's policy.
    """
    if sum(each is not None for each in (file, local, preset)) != 1:
        raise UsageError(
            "policy set takes one of FILE, --local and --preset",
            hint="qallow-agent policy set mesh.toml",
        )
    wish: Message
    if file is not None:
        wish = ethics.SetPolicy(_sized(encode_policy(read_mesh_policy(file)), file))
    elif local is not None:
        own = encode_owner(read_owner_policy(local)) if local else b""
        wish = ethics.SetOwnerPolicy(_sized(own, local, MAX_OWNER_BYTES))
    else:
        wish = ethics.ChoosePreset("" if preset == "auto" else preset or "")
    report = agent.report(wish)
    if as_json:
        emit(report.schema, report.document)
        return
    document = report.document
    if file is not None:
        click.echo(f"the mesh's policy is version {document['version']} now")
        note("it reaches every node within seconds of its being there")
    elif local is not None:
        click.echo("this node's own policy is set" if local else "this node has no own policy now")
    else:
        chosen = document["preset"]
        click.echo(f"this node is judged as {chosen['name']} (by {chosen['from']})")


@policy.command(
    short_help="Do without one signal on this node for a while.",
    epilog='Example: qallow-agent policy override c3 --for 2h --why "demo"',
)
@click.argument("signal")
@click.option("--for", "for_s", type=duration, metavar="DURATION", default=0.0, help="At most 24h.")
@click.option("--why", default="", help="Kept with it, for whoever asks.")
@click.option("--end", is_flag=True, help="Let the signal count again.")
@asks_agent
def override(
    agent: LocalAgent, signal: str, for_s: float, why: str, end: bool, as_json: bool
) -> None:
    """Let SIGNAL of 'policy show' not count on this node; it ends by itself."""
    if end == (for_s > 0):
        raise UsageError("an override needs an end", hint="give --for 2h, or --end to end it now")
    report = agent.report(ethics.OverridePolicy(signal, for_s, why))
    if as_json:
        emit(report.schema, report.document)
    elif end:
        click.echo(f"{signal} counts again")
    else:
        click.echo(f"{signal} does not count for {show_seconds(for_s)}")
        note(f"end it sooner: qallow-agent policy override {signal} --end")


@policy.command(
    short_help="Check a policy without setting it.",
    epilog="Example: qallow-agent policy validate policy.toml",
)
@click.argument("file")
@click.option("--local", is_flag=True, help="It is an owner's policy of one node.")
@json_option
def validate(file: str, local: bool, as_json: bool) -> None:
    """Check the policy in FILE; nothing is changed."""
    found = read_owner_policy(file) if local else read_mesh_policy(file)
    limit = MAX_OWNER_BYTES if local else MAX_DOCUMENT_BYTES
    size = len(_sized(_encoded(found), file, limit))
    if as_json:
        emit("qallow.policy.validation/v1", {"file": file, "valid": True, "bytes": size})
    else:
        click.echo(f"{file} is a sound {'owner' if local else 'mesh'} policy")


@policy.command(
    short_help="Write down by what this node judges its devices.",
    epilog="Example: qallow-agent policy record decisions.jsonl --for 10m",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--for", "for_s", type=duration, metavar="DURATION", default=60.0,
              help="How long to listen. [default: 1m]")  # fmt: skip
@asks_agent
def record(agent: LocalAgent, file: Path, for_s: float, as_json: bool) -> None:
    """Write the evidence of this node's judgements to FILE, for 'policy test --replay'."""
    from qallow_agent.cli import policy_record  # noqa: PLC0415 - only this follows an agent

    count = policy_record.record(agent, file, for_s)
    if as_json:
        emit("qallow.policy.record/v1", {"file": str(file), "placements": count})
    else:
        click.echo(f"{count:,} judgements are in {file}")


@policy.command(
    short_help="Say what a policy would change, by recorded evidence.",
    epilog="Example: qallow-agent policy test policy.toml --replay decisions.jsonl",
)
@click.argument("file")
@click.option("--replay", "evidence", metavar="EVIDENCE", required=True, help="JSON lines.")
@click.option("--against", metavar="FILE", help="The policy to compare with; default this mesh's.")
@click.option("--preset", type=click.Choice(PRESETS), help="Judge boxes as this; default as here.")
@asks_agent
def test(
    agent: LocalAgent,
    file: str,
    evidence: str,
    against: str | None,
    preset: str | None,
    as_json: bool,
) -> None:
    """Replay recorded evidence under the mesh policy in FILE; nothing is changed.

    Each line of EVIDENCE is one placement's evidence as JSON, or an object that holds it as
    'evidence'. An agent need not run when --against names what to compare with.
    """
    from qallow_agent.cli.policy_test import compare  # noqa: PLC0415 - only this needs the score

    candidate = read_mesh_policy(file)
    before, kind = _baseline(agent, against)
    document = compare(before, candidate, preset or kind, Path(evidence))
    if as_json:
        emit("qallow.policy.test/v1", document)
        return
    pairs(
        [
            ("placements", f"{document['count']:,}"),
            ("refused now", f"{document['before']['refused_share']:.1%}"),
            ("refused then", f"{document['after']['refused_share']:.1%}"),
            ("would change", f"{document['changed']:,}"),
        ]
    )
    if document["changes"]:
        table(
            ("LINE", "NODE", "DEVICE", "NOW", "THEN", "E NOW", "E THEN", "BY"),
            [_change(each) for each in document["changes"][:20]],
        )
    if document["changed"] > 20:  # noqa: PLR2004 - a screen
        note(f"and {document['changed'] - 20:,} more: see --json")


def _owner_of(document: dict[str, Any]) -> OwnerPolicy:
    return _converted(document, "own", OwnerPolicy)


def mesh_of(document: dict[str, Any]) -> MeshPolicy:
    """Return the mesh's policy that a report holds.

    Raises:
        ConfigError: The agent is of another release.
    """
    return _converted(document, "mesh", MeshPolicy)


def _converted(document: dict[str, Any], name: str, kind: type[Held]) -> Held:
    try:
        return msgspec.convert(document[name], kind)
    except (KeyError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"the agent's policy is not understood: {error}",
            hint="agent and command line are of different releases: restart the agent",
        ) from error


def _baseline(agent: LocalAgent, against: str | None) -> tuple[MeshPolicy, str]:
    if against is not None:
        return read_mesh_policy(against), "desktop"
    report = agent.report(ethics.GetPolicy())
    return mesh_of(report.document), str(report.document["preset"]["name"])


def _encoded(found: MeshPolicy | OwnerPolicy) -> bytes:
    if isinstance(found, MeshPolicy):
        return encode_policy(found)
    return encode_owner(found)


def _sized(document: bytes, name: str, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
    if len(document) > limit:
        raise ConfigError(
            f"the policy {name} takes {len(document):,} bytes", hint=f"at most {limit:,}"
        )
    return document


def _change(each: dict[str, Any]) -> tuple[str, ...]:
    now, then = each["before"], each["after"]
    return (
        str(each["line"]),
        str(each["node"])[:12],
        str(each["device"]),
        str(now["verdict"]),
        str(then["verdict"]),
        f"{now['e']:.3f}",
        f"{then['e']:.3f}",
        ", ".join(each["culprits"]) or "threshold",
    )
