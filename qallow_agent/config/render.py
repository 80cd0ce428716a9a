"""Settings as text: TOML with sources, the commented example, bounds in words."""

import json
import textwrap
from collections.abc import Mapping

from qallow_agent.config.schema import Settings
from qallow_agent.config.tree import Entry, Value, entries, sections

_WIDTH = 98

EXAMPLE_HEAD = """\
# Every setting of qallow-agent with its default: nothing here is needed to start an agent.
# Written by 'make docs' from the code; copy what you change into a file of your own.
# Order: defaults < files < environment (QALLOW_MESH__SYNC__PULSE_S) < --set key=value.
# Durations may be written "1.5s" or "200ms", sizes "64MiB".
"""


def toml_value(value: Value) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(json.dumps(part, ensure_ascii=False) for part in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def bounds(entry: Entry) -> str:
    """Return in words between which limits a setting must lie, or its choices."""
    rule = entry.rule
    if rule.choices:
        return "one of " + ", ".join(rule.choices)
    parts = [
        f"{word} {limit:,.15g}"
        for word, limit in (("at least", rule.ge), ("at most", rule.le))
        if limit is not None
    ]
    unit = rule.unit.strip()
    return " and ".join(parts) + (f" {unit}" if parts and unit else "")


def effective(values: Mapping[str, Value], sources: Mapping[str, str]) -> str:
    """Return TOML of some settings by dotted key, each line saying where its value comes from."""
    lines: list[str] = []
    section = ""
    for key, value in values.items():
        here, _, name = key.rpartition(".")
        if here != section:
            lines += [""] if lines else []
            lines.append(f"[{here}]")
            section = here
        lines.append(f"{name} = {toml_value(value)}  # {sources[key]}")
    return "\n".join(lines) + "\n" if lines else ""


def example() -> str:
    """Return the example configuration: every key, commented out, with its documentation."""
    claims = sections(Settings)
    lines = [EXAMPLE_HEAD]
    section = ""
    for key, entry in entries(Settings).items():
        if entry.section != section:
            section = entry.section
            lines += [f"[{section}]", f"# {claims[section]}", ""]
        limits = bounds(entry)
        text = entry.rule.doc + (f" ({limits})" if limits else "")
        lines += textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines += [f"# {key.rpartition('.')[2]} = {toml_value(entry.default)}", ""]
    return "\n".join(lines).rstrip() + "\n"
