"""The generated pages: ``python -m qallow_agent.config.reference`` writes them from the schema."""

import sys
from pathlib import Path

from qallow_agent.config.convert import wanted
from qallow_agent.config.governance import PAGE, fill
from qallow_agent.config.render import bounds, example, toml_value
from qallow_agent.config.schema import Settings
from qallow_agent.config.tree import Entry, entries, sections

_HEAD = """\
# Configuration

Written by `make docs` from the code; every setting has a default that works.

An agent takes its settings from, each winning over the ones before: its defaults;
`/etc/qallow/agent.toml`, `/etc/qallow/agent.d/*.toml` and `~/.config/qallow/agent.toml` (or the
files named by `--config` or `QALLOW_CONFIG`); the environment; `--set key=value`. The variable of
`mesh.sync.pulse_s` is `QALLOW_MESH__SYNC__PULSE_S`. Durations may be written `"1.5s"` or `"200ms"`,
sizes `"64MiB"`. An unknown key is an error. `qallow-agent config show` prints what is in force and
from where, `config explain KEY` one setting, `config validate` checks without starting.
"""


def reference() -> str:
    """Return the reference page: one table a section."""
    claims = sections(Settings)
    lines = [_HEAD.rstrip()]
    section = ""
    for entry in entries(Settings).values():
        if entry.section != section:
            section = entry.section
            lines += [
                "",
                f"## `[{section}]`",
                "",
                claims[section],
                "",
                "| setting | default | takes | what it does |",
                "|---|---|---|---|",
            ]
        lines.append(_row(entry))
    return "\n".join(lines) + "\n"


def generated(root: Path) -> dict[Path, str]:
    """Return the text that each generated file below the repository's root should have."""
    return {
        root / "configs" / "agent.toml": example(),
        root / "docs" / "reference" / "configuration.md": reference(),
        root / PAGE: fill((root / PAGE).read_text(encoding="utf-8")),
    }


def main() -> int:
    """Write the generated files of the repository in the current directory."""
    for path, text in generated(Path.cwd()).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


def _row(entry: Entry) -> str:
    takes = ", ".join(part for part in (wanted(entry), bounds(entry)) if part)
    default = f"`{toml_value(entry.default)}`"
    doc = entry.rule.doc.replace("|", "\\|")
    return f"| `{entry.name}` | {default} | {takes} | {doc} |"


if __name__ == "__main__":
    sys.exit(main())
