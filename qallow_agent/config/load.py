"""Loading: defaults < files < environment < assignments, each value remembering its source."""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qallow_agent.base.errors import ConfigError
from qallow_agent.config.convert import convert
from qallow_agent.config.paths import (
    SOCKET_NAME,
    default_cache_dir,
    default_files,
    default_state_dir,
    existing_socket,
)
from qallow_agent.config.schema import Settings
from qallow_agent.config.tree import Entry, Value, build, entries, flatten

_PREFIX = "QALLOW_"
_MAX_FILE_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DEFAULT_SOURCE = "default"
_HOST_SOURCE = "the host's name"
_USUAL_SOURCE = "where agents keep it"
_STATE_SOURCE = "in the state directory"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings, and for every dotted key where its value comes from."""

    settings: Settings
    sources: Mapping[str, str]

    def values(self) -> dict[str, Value]:
        """Return the effective values by dotted key."""
        return flatten(self.settings)

    @property
    def changed(self) -> list[str]:
        """The keys that somebody set: in a file, a variable or on the command line."""
        made_up = (DEFAULT_SOURCE, _HOST_SOURCE, _USUAL_SOURCE, _STATE_SOURCE)
        return sorted(key for key, source in self.sources.items() if source not in made_up)


def load_settings(
    files: Iterable[str | Path] = (),
    *,
    assignments: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Return the effective settings and their sources.

    Args:
        files: TOML files, later ones win; none: ``QALLOW_CONFIG``, else where agents look.
        assignments: ``key=value`` as ``--set`` takes them; they win over everything.
        environment: Variables such as ``QALLOW_MESH__SYNC__PERIOD_S``; default the process's.

    Raises:
        ConfigError: An unreadable file, an unknown key (with the nearest known one), or a value of
            the wrong kind or out of bounds; names key, value and source.
    """
    variables = os.environ if environment is None else environment
    table = entries(Settings)
    values: dict[str, Value] = {}
    sources = dict.fromkeys(table, DEFAULT_SOURCE)
    for key, raw, source in _layers(files, assignments, variables, table):
        values[key] = convert(table[key], raw, source)
        sources[key] = source
    _apply_rules(values, sources, variables)
    try:
        settings = build(Settings, values)
    except ConfigError as error:
        key = error.message.split(" ", 1)[0]
        where = sources.get(key, DEFAULT_SOURCE)
        raise ConfigError(f"{error.message} ({where})", hint=error.hint) from error
    return Loaded(settings, sources)


def find_socket(named: str | Path | None = None) -> Path:
    """Return the control socket of the agent that a local program means.

    Named explicitly, else ``QALLOW_SOCKET``, else as the configuration says; when no such socket
    exists and the system's agent has one, that.

    Raises:
        ConfigError: The configuration is wrong.
    """
    if named or (named := os.environ.get("QALLOW_SOCKET")):
        return Path(named).expanduser()
    return existing_socket(Path(load_settings().settings.node.socket))


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a did-you-mean hint for an unknown word, or how to list the known ones."""
    names = list(known)
    tables = sorted({name.rpartition(".")[0] for name in names})
    if word in tables:
        inside = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == word]
        return f"[{word}] is a table, with {', '.join(inside)}"
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if len(word.split(".")) == 2:  # noqa: PLR2004 - a table within a table
        near = difflib.get_close_matches(word, [*near, *tables], n=1, cutoff=0.8) or near
        if near and near[0] in tables:
            return f"did you mean [{near[0]}]?"
    if not near:
        last = word.rpartition(".")[2]
        near = [name for name in names if name.rpartition(".")[2] == last][:1]
    return f"did you mean {near[0]}?" if near else "'qallow-agent config show' lists all keys"


def _layers(
    files: Iterable[str | Path],
    assignments: Iterable[str],
    variables: Mapping[str, str],
    table: Mapping[str, Entry],
) -> Iterator[tuple[str, object, str]]:
    chosen = [Path(name) for name in files]
    if not chosen and variables.get("QALLOW_CONFIG"):
        chosen = [Path(name) for name in variables["QALLOW_CONFIG"].split(os.pathsep) if name]
    for path in chosen or default_files(variables):
        yield from _from_file(path, table)
    yield from _from_environment(variables, table)
    for assignment in assignments:
        key, equals, raw = assignment.partition("=")
        key = key.strip()
        if not equals:
            raise ConfigError(f"--set {assignment!r} has no '='", hint="write --set key=value")
        _known(key, table, "--set")
        yield key, raw.strip(), "--set"


def _from_file(path: Path, table: Mapping[str, Entry]) -> Iterator[tuple[str, object, str]]:
    try:
        with path.open("rb") as opened:
            data = opened.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than a configuration can be (1 MiB)")
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(
            f"the configuration {path} cannot be read: {error.strerror}",
            hint="name an existing file with --config, or none",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"the configuration {path} is not TOML: {error}", hint="quote texts, one key a line"
        ) from error
    yield from _leaves(document, "", table, f"file {path}")


def _leaves(
    document: Mapping[str, Any], prefix: str, table: Mapping[str, Entry], source: str
) -> Iterator[tuple[str, object, str]]:
    for name, value in document.items():
        key = prefix + name
        is_section = any(known.startswith(f"{key}.") for known in table)
        if is_section and not isinstance(value, dict):
            raise ConfigError(f"{key} ({source}) is a table, not a value", hint=f"write [{key}]")
        if is_section:
            yield from _leaves(value, f"{key}.", table, source)
        else:
            _known(key, table, source)
            yield key, value, source


def _from_environment(
    variables: Mapping[str, str], table: Mapping[str, Entry]
) -> Iterator[tuple[str, object, str]]:
    by_variable = {entry.variable: key for key, entry in table.items()}
    flattened = {variable.replace("__", "_"): variable for variable in by_variable}
    if variables.get("QALLOW_SOCKET"):
        yield "node.socket", variables["QALLOW_SOCKET"], "env QALLOW_SOCKET"
    for variable in sorted(name for name in variables if name.startswith(_PREFIX)):
        key = by_variable.get(variable)
        if key is not None:
            yield key, variables[variable], f"env {variable}"
        elif "__" in variable:
            near = difflib.get_close_matches(variable, by_variable, n=1)
            hint = f"did you mean {near[0]}?" if near else "unset it"
            raise ConfigError(f"the variable {variable} names no setting", hint=hint)
        elif variable in flattened:
            raise ConfigError(
                f"the variable {variable} names no setting",
                hint=f"did you mean {flattened[variable]}, with two underscores?",
            )


def _known(key: str, table: Mapping[str, Entry], source: str) -> None:
    if key not in table:
        raise ConfigError(f"unknown setting {key!r} ({source})", hint=suggest(key, table))


def _apply_rules(
    values: dict[str, Value], sources: dict[str, str], variables: Mapping[str, str]
) -> None:
    if not values.get("node.name"):
        host = re.sub(r"[^A-Za-z0-9_-]+", "-", os.uname().nodename.split(".")[0])
        values["node.name"] = host.strip("-_")[:63] or "node"
        sources["node.name"] = _HOST_SOURCE
    if not _NAME.fullmatch(str(values["node.name"])):
        raise ConfigError(
            f"node.name = {values['node.name']!r} ({sources['node.name']}) is no name",
            hint="up to 63 letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    bind = str(values.get("mesh.transport.bind", "0.0.0.0"))  # noqa: S104 - only read
    try:
        ipaddress.ip_address(bind)
    except ValueError as error:
        raise ConfigError(
            f"mesh.transport.bind = {bind!r} ({sources['mesh.transport.bind']}) is no IP address",
            hint="write an address of this machine, 127.0.0.1, 0.0.0.0 or ::",
        ) from error
    if not values.get("node.state_dir"):
        values["node.state_dir"] = str(default_state_dir(variables))
        sources["node.state_dir"] = _USUAL_SOURCE
    state_dir = Path(str(values["node.state_dir"])).expanduser().absolute()
    values["node.state_dir"] = str(state_dir)
    if not values.get("node.cache_dir"):
        values["node.cache_dir"] = str(default_cache_dir(variables))
        sources["node.cache_dir"] = _USUAL_SOURCE
    values["node.cache_dir"] = str(Path(str(values["node.cache_dir"])).expanduser().absolute())
    if not values.get("node.socket"):
        values["node.socket"] = str(state_dir / SOCKET_NAME)
        sources["node.socket"] = _STATE_SOURCE
    values["node.socket"] = str(Path(str(values["node.socket"])).expanduser().absolute())
