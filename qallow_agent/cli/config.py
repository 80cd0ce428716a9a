"""``config show|explain|validate``: what is set, where it comes from, whether it is right."""

import click

from qallow_agent.base.errors import UsageError
from qallow_agent.cli.options import config_option, json_option, set_option
from qallow_agent.cli.output import emit, note, pairs
from qallow_agent.config.convert import wanted
from qallow_agent.config.load import load_settings, suggest
from qallow_agent.config.render import bounds, effective, toml_value
from qallow_agent.config.schema import Settings
from qallow_agent.config.tree import entries

_HIDDEN = "***"


@click.group()
def config() -> None:
    """Show, explain and validate the configuration."""


@config.command(
    short_help="Print the settings in force as TOML.",
    epilog="Example: qallow-agent config show --changed",
)
@config_option
@set_option
@click.option("--changed", is_flag=True, help="Only what differs from the defaults.")
@json_option
def show(
    files: tuple[str, ...], assignments: tuple[str, ...], changed: bool, as_json: bool
) -> None:
    """Print the effective configuration as TOML, each value with its source."""
    loaded = load_settings(files, assignments=assignments)
    table = entries(Settings)
    chosen = {
        key: _HIDDEN if table[key].rule.secret and value else value
        for key, value in loaded.values().items()
        if not changed or key in loaded.changed
    }
    if as_json:
        document = {
            key: {"value": value, "source": loaded.sources[key]} for key, value in chosen.items()
        }
        emit("qallow.config/v1", {"settings": document})
    else:
        click.echo(effective(chosen, loaded.sources), nl=False)


@config.command(
    short_help="Say what one setting means.",
    epilog="Example: qallow-agent config explain mesh.membership.probe_period_s",
)
@click.argument("key")
@config_option
@set_option
@json_option
def explain(key: str, files: tuple[str, ...], assignments: tuple[str, ...], as_json: bool) -> None:
    """Say what one setting means, what it may be, and where its value comes from."""
    table = entries(Settings)
    entry = table.get(key)
    if entry is None:
        raise UsageError(f"unknown setting {key!r}", hint=suggest(key, table))
    loaded = load_settings(files, assignments=assignments)
    value = _HIDDEN if entry.rule.secret else loaded.values()[key]
    facts = {
        "key": key,
        "value": value,
        "source": loaded.sources[key],
        "default": entry.default,
        "wanted": wanted(entry),
        "bounds": bounds(entry),
        "variable": entry.variable,
        "doc": entry.rule.doc,
    }
    if as_json:
        emit("qallow.setting/v1", facts)
        return
    click.echo(entry.rule.doc)
    pairs(
        [
            ("value", f"{toml_value(value)}  ({loaded.sources[key]})"),
            ("default", toml_value(entry.default)),
            ("takes", ", ".join(part for part in (wanted(entry), bounds(entry)) if part)),
            ("variable", entry.variable),
            ("file", f"[{entry.section}] {entry.name} = ..."),
        ]
    )


@config.command(
    short_help="Check the configuration as an agent would.",
    epilog="Example: qallow-agent config validate --config agent.toml",
)
@config_option
@set_option
@json_option
def validate(files: tuple[str, ...], assignments: tuple[str, ...], as_json: bool) -> None:
    """Check the configuration as an agent would; exit code 78 when it is wrong."""
    loaded = load_settings(files, assignments=assignments)
    changed = loaded.changed
    if as_json:
        emit("qallow.validation/v1", {"valid": True, "changed": changed})
    else:
        click.echo("the configuration is valid")
        note(f"set: {', '.join(changed)}" if changed else "every setting has its default")
