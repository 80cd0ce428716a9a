"""``doctor``: everything an agent needs, each with what was seen and the fix."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from qallow_agent.base.errors import EXIT_FAILED, EXIT_OK, ConfigError
from qallow_agent.cli import checks
from qallow_agent.cli.checks import Check
from qallow_agent.cli.options import LocalAgent, asks_agent, config_option, set_option
from qallow_agent.cli.output import emit
from qallow_agent.config.load import Loaded, load_settings
from qallow_agent.config.schema import Settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    epilog="Exit code: 0 nothing failed, 1 otherwise. Example: qallow-agent doctor --strict"
)
@config_option
@set_option
@click.option("--strict", is_flag=True, help="Warnings count as failures.")
@asks_agent
def doctor(
    agent: LocalAgent,
    files: tuple[str, ...],
    assignments: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> int:
    """Check keys, ports, peers, clock, fences, JIT and GPU, and name each fix."""
    found: list[Check] = []
    for check in examine(agent, files, assignments):
        found.append(check)
        if not as_json:
            say(check)
    counts = {level: sum(check.level == level for check in found) for level in _COLOURS}
    if as_json:
        emit("qallow.doctor/v1", {"counts": counts, "checks": [asdict(check) for check in found]})
    else:
        click.echo(f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures")
    return EXIT_FAILED if counts["fail"] or (strict and counts["warn"]) else EXIT_OK


def examine(
    agent: LocalAgent, files: tuple[str, ...], assignments: tuple[str, ...]
) -> Iterator[Check]:
    """Yield one finding after another, cheap ones first."""
    from qallow_agent.cli import fencechecks, netchecks, sensorchecks  # noqa: PLC0415 - psutil

    yield checks.platform_check()
    settings, check = _configuration(files, assignments)
    yield check
    yield from checks.state_checks(Path(settings.node.state_dir))
    yield checks.limits_check()
    reached = LocalAgent(agent.socket or settings.node.socket, agent.timeout_s)
    found, answers = netchecks.agent_checks(reached)
    yield from found
    yield from netchecks.port_checks(settings, answers.ports if answers else frozenset())
    yield from netchecks.discovery_checks(settings)
    yield checks.clock_check()
    yield from fencechecks.fence_checks(settings)
    yield _runner_check(answers.status if answers else {})
    yield from checks.gpu_checks()
    yield from sensorchecks.sensor_checks()


def say(check: Check) -> None:
    """Print one finding, and its fix below it."""
    level = click.style(f"{check.level:<4}", fg=_COLOURS[check.level])
    click.echo(f"{level}  {check.name:<10}  {check.what}")
    if check.fix:
        click.echo(f"  fix: {check.fix}")


def _configuration(files: tuple[str, ...], assignments: tuple[str, ...]) -> tuple[Settings, Check]:
    try:
        loaded = load_settings(files, assignments=assignments)
    except ConfigError as error:
        fallback = load_settings(environment={})
        return fallback.settings, Check("fail", "config", error.message, error.hint)
    return loaded.settings, Check("ok", "config", _sources(loaded))


def _sources(loaded: Loaded) -> str:
    used = sorted({source for source in loaded.sources.values() if source.startswith("file ")})
    return f"valid, from {', '.join(used)}" if used else "valid, no file needed"


def _runner_check(status: dict[str, Any]) -> Check:
    canaries = status.get("canaries") or {}
    if canaries.get("failed"):
        return Check(
            "fail",
            "runner",
            f"{canaries['failed']} canaries failed",
            "'qallow-agent devices' says why",
        )
    if canaries.get("passed"):
        return Check("ok", "runner", f"{canaries['passed']} canaries passed on the agent's runners")
    return checks.jit_check()
