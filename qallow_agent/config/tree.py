"""A settings tree as a flat table: dotted key -> type, default and rules; and back again."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.settings import Setting, check_bounds

Value = bool | int | float | str | tuple[str, ...]
"""What a setting may hold."""

Root = TypeVar("Root")

_TYPES = (bool, int, float, str, tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting: where it stands and what it takes.

    Args:
        key: Dotted, e.g. ``mesh.membership.probe_period_s``.
        kind: bool, int, float, str or tuple[str, ...].
    """

    key: str
    kind: Any
    default: Value
    rule: Setting

    @property
    def section(self) -> str:
        """The dotted key of the table it stands in."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name within the table."""
        return self.key.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "QALLOW_" + self.key.replace(".", "__").upper()


def entries(root: type, prefix: str = "") -> dict[str, Entry]:
    """Return every setting below a settings class, by dotted key, in order of declaration.

    Raises:
        InvariantBroken: A field declares no rules, or a type that no file can express.
    """
    table: dict[str, Entry] = {}
    hints = get_type_hints(root)
    for item in fields(root):
        key, kind = f"{prefix}{item.name}", hints[item.name]
        if isinstance(kind, type) and is_dataclass(kind):
            table |= entries(kind, f"{key}.")
            continue
        rule = item.metadata.get("setting")
        if not isinstance(rule, Setting) or kind not in _TYPES:
            raise InvariantBroken(
                f"{key} is no setting: declare it with setting() and a known type"
            )
        table[key] = Entry(key, kind, _default(item), rule)
    return table


def sections(root: type, prefix: str = "") -> dict[str, str]:
    """Return the dotted key of every table below a settings class, and its docstring's claim."""
    table: dict[str, str] = {}
    for name, kind in get_type_hints(root).items():
        if isinstance(kind, type) and is_dataclass(kind):
            table[prefix + name] = (kind.__doc__ or "").strip().partition("\n")[0]
            table |= sections(kind, f"{prefix}{name}.")
    return table


def build(root: type[Root], values: Mapping[str, Value], prefix: str = "") -> Root:
    """Return the settings tree that holds some values, and defaults for the rest.

    Raises:
        ConfigError: A value is out of its declared bounds.
    """
    arguments: dict[str, Any] = {}
    hints = get_type_hints(root)
    for item in fields(root):  # type: ignore[arg-type]  # Root is always a dataclass
        key, kind = f"{prefix}{item.name}", hints[item.name]
        if isinstance(kind, type) and is_dataclass(kind):
            arguments[item.name] = build(kind, values, f"{key}.")
        elif key in values:
            arguments[item.name] = values[key]
    built = root(**arguments)
    check_bounds(built, prefix.rstrip("."))
    return built


def flatten(settings: object, prefix: str = "") -> dict[str, Value]:
    """Return the values of a settings tree by dotted key."""
    table: dict[str, Value] = {}
    for item in fields(settings):  # type: ignore[arg-type]  # every settings object is a dataclass
        value = getattr(settings, item.name)
        if is_dataclass(value):
            table |= flatten(value, f"{prefix}{item.name}.")
        else:
            table[prefix + item.name] = value
    return table


def _default(item: Field[Any]) -> Value:
    if item.default is not MISSING:
        value: Value = item.default
        return value
    raise InvariantBroken(f"the setting {item.name} has no default")
