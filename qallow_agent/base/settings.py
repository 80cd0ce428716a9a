"""How a room declares its settings: frozen dataclasses whose fields explain themselves."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from qallow_agent.base.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What the schema knows of one setting besides its type and default."""

    doc: str
    unit: str = ""
    ge: float | None = None
    le: float | None = None
    secret: bool = False
    choices: tuple[str, ...] = ()


def setting(default: T, doc: str, **rules: Any) -> T:
    """Declare a dataclass field with its documentation, unit and bounds."""
    declared: T = field(default=default, metadata={"setting": Setting(doc=doc, **rules)})
    return declared


def check_bounds(settings: object, where: str) -> None:
    """Check every field of a settings dataclass against its declared bounds.

    Raises:
        ConfigError: A value is out of bounds; the message names key, value and bounds.
    """
    for item in fields(settings):  # type: ignore[arg-type]
        rule = item.metadata.get("setting")
        value = getattr(settings, item.name)
        if not isinstance(rule, Setting):
            continue
        key = f"{where}.{item.name}"
        if rule.choices and value not in rule.choices:
            raise ConfigError(
                f"{key} = {value!r} is unknown", hint=f"one of {', '.join(rule.choices)}"
            )
        if isinstance(value, int | float) and not isinstance(value, bool):
            if rule.ge is not None and value < rule.ge:
                raise ConfigError(
                    f"{key} = {value} is too small", hint=f"at least {rule.ge}{rule.unit}"
                )
            if rule.le is not None and value > rule.le:
                raise ConfigError(
                    f"{key} = {value} is too large", hint=f"at most {rule.le}{rule.unit}"
                )
