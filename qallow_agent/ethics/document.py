"""Documents: a policy as people write it, in TOML, to the integers that are signed.

Unknown keys are errors. Every error names the file, the line, the key, what stands there, and what
may. Values that an author leaves out are those that the agent comes with.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from qallow_agent.base.errors import ConfigError
from qallow_agent.ethics.bounds import Fault, mesh_faults, nearest, owner_faults, ramp_faults
from qallow_agent.ethics.clauses import ANY, MOST_COMMITTEE, Committee, Grant, Zone
from qallow_agent.ethics.evidence import MAX_VALUE, MILLION
from qallow_agent.ethics.hours import DAYS, EVERY_DAY, Hours, parse_clock, parse_offset
from qallow_agent.ethics.lines import Path, line_of, show_path
from qallow_agent.ethics.mesh_policy import PRESETS, MeshPolicy, Profile, built_in
from qallow_agent.ethics.owner import NOTHING, OwnerPolicy
from qallow_agent.ethics.policy import Override, Ramp

T = TypeVar("T")

THOUSAND = 1_000
_EPSILON = 1e-4
"""Share of the last digit by which a decimal number may miss a whole one, as binary ones do."""

MESH_KEYS = (
    "version", "threshold", "allow_presets", "presets", "ramps", "submit", "observe",
    "administer", "zones", "quiet", "overrides", "committee", "prices", "dvfs",
)  # fmt: skip
OWNER_KEYS = (
    "threshold", "ramps", "required", "submit", "classes", "quiet", "consent", "dvfs",
)  # fmt: skip


class Wrong(Exception):
    """What stands under a key cannot be, or (nothing shown) the key itself is unknown."""

    def __init__(self, path: Path, shown: str, bounds: str) -> None:
        super().__init__(show_path(path))
        self.path = path
        self.shown = shown
        self.bounds = bounds


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a document and what it is called, to name lines of it."""

    name: str
    text: str = ""

    def error(self, path: Path, shown: str, bounds: str) -> ConfigError:
        """Return the error that tells an author what is wrong where."""
        number = line_of(self.text, path)
        where = self.name if number is None else f"{self.name}, line {number}"
        wrong = f"{show_path(path)} = {shown} cannot be" if shown else f"unknown key {path[-1]!r}"
        return ConfigError(f"{where}: {wrong}", hint=bounds)


def mesh_policy(raw: Mapping[str, Any], source: Source) -> MeshPolicy:
    """Return the mesh's policy that a parsed document describes.

    Raises:
        ConfigError: An unknown key, or a value of the wrong kind or out of bounds.
    """
    return _judged(lambda: _mesh(raw), mesh_faults, source)


def owner_policy(raw: Mapping[str, Any], source: Source) -> OwnerPolicy:
    """Return the owner's policy that a parsed document describes.

    Raises:
        ConfigError: An unknown key, or a value of the wrong kind or out of bounds.
    """
    return _judged(lambda: _owner(raw), owner_faults, source)


def _judged(read: Callable[[], T], faults: Callable[[T], Iterable[Fault]], source: Source) -> T:
    try:
        policy = read()
    except Wrong as wrong:
        raise source.error(wrong.path, wrong.shown, wrong.bounds) from wrong
    for fault in faults(policy):
        raise source.error(fault.path, str(fault.value), fault.bounds)
    return policy


def _mesh(raw: Mapping[str, Any]) -> MeshPolicy:
    _known(raw, MESH_KEYS, ())
    usual = built_in()
    allowed = _words(raw, ("allow_presets",), PRESETS)
    shared = _ramps(raw.get("ramps", {}), ("ramps",))
    for fault in ramp_faults(shared, ("ramps",)):
        raise Wrong(fault.path, str(fault.value), fault.bounds)
    presets = _table(raw.get("presets", {}), ("presets",))
    _known(presets, PRESETS, ("presets",))
    profiles = {}
    for name in allowed:
        if name not in usual.presets:
            raise _wrong(("allow_presets",), name, nearest(name, PRESETS))
        profiles[name] = _profile(presets.get(name, {}), ("presets", name), usual, shared)
    return MeshPolicy(
        version=_whole(raw, ("version",), 0),
        threshold=_scaled(raw, ("threshold",), THOUSAND, usual.threshold),
        presets=profiles,
        grants=_grants(raw),
        observers=_words(raw, ("observe",), ()),
        administrators=_words(raw, ("administer",), ()),
        zones=_zones(raw.get("zones", {})),
        quiet=_quiet(raw),
        overrides=tuple(
            _override(each, ("overrides", place))
            for place, each in enumerate(_tables(raw, ("overrides",)))
        ),
        committee=_committee(_table(raw.get("committee", {}), ("committee",))),
        prices=tuple(
            _number(each, ("prices", place), MILLION)
            for place, each in enumerate(_list(raw.get("prices", []), ("prices",)))
        ),
        dvfs=_flag(raw, ("dvfs",), default=False),
    )


def _owner(raw: Mapping[str, Any]) -> OwnerPolicy:
    _known(raw, OWNER_KEYS, ())
    return OwnerPolicy(
        threshold=_scaled(raw, ("threshold",), THOUSAND, NOTHING.threshold),
        ramps=_ramps(raw.get("ramps", {}), ("ramps",)),
        required=_words(raw, ("required",), ()),
        grants=_grants(raw),
        classes=_words(raw, ("classes",), ()),
        quiet=_quiet(raw),
        consent=_flag(raw, ("consent",), default=True),
        dvfs=_flag(raw, ("dvfs",), default=True),
    )


def _profile(raw: Any, path: Path, usual: MeshPolicy, shared: Mapping[str, Ramp]) -> Profile:
    table = _table(raw, path)
    _known(table, ("ramps", "skipped"), path)
    base = usual.presets[str(path[-1])]
    own = _ramps(table.get("ramps", {}), (*path, "ramps"))
    return Profile({**base.ramps, **shared, **own}, _words(table, (*path, "skipped"), base.skipped))


def _ramps(raw: Any, path: Path) -> dict[str, Ramp]:
    """Return ramps by signal; ``c1.cpu`` may be a dotted key, a quoted one or a table."""
    found: dict[str, Ramp] = {}
    for name, value in _table(raw, path).items():
        inner = (*path, name)
        table = dict(_table(value, inner))
        if "bad" in table or "good" in table:
            ends = [_end(table, (*inner, end)) for end in ("bad", "good")]
            found[name] = Ramp(*ends)
        for part, ramp in _ramps(table, inner).items() if table else ():
            found[f"{name}.{part}"] = ramp
    return found


def _end(table: dict[str, Any], path: Path) -> int:
    end = str(path[-1])
    if end not in table:
        raise _wrong(path[:-1], table, "{ bad = ..., good = ... } in the signal's unit")
    return _number(table.pop(end), path, MILLION)


def _grants(raw: Mapping[str, Any]) -> tuple[Grant, ...]:
    grants = []
    for place, each in enumerate(_tables(raw, ("submit",))):
        path: Path = ("submit", place)
        _known(each, ("who", "kernels", "zones"), path)
        words = (_words(each, (*path, key), (ANY,)) for key in ("who", "kernels", "zones"))
        grants.append(Grant(*words))
    return tuple(grants)


def _zones(raw: Any) -> dict[str, Zone]:
    zones = {}
    for name, each in _table(raw, ("zones",)).items():
        table = _table(each, ("zones", name))
        _known(table, ("classes",), ("zones", name))
        zones[name] = Zone(_words(table, ("zones", name, "classes"), (ANY,)))
    return zones


def _quiet(raw: Mapping[str, Any]) -> tuple[Hours, ...]:
    return tuple(
        _hours(each, ("quiet", place)) for place, each in enumerate(_tables(raw, ("quiet",)))
    )


def _hours(table: Mapping[str, Any], path: Path) -> Hours:
    _known(table, ("from", "until", "days", "offset"), path)
    days = _words(table, (*path, "days"), DAYS)
    for day in days:
        if day not in DAYS:
            raise _wrong((*path, "days"), day, nearest(day, DAYS))
    clocks = []
    for key in ("from", "until"):
        minutes = parse_clock(_text(table, (*path, key)))
        if minutes is None:
            raise _wrong((*path, key), table.get(key), 'a time of day such as "22:00"')
        clocks.append(minutes)
    offset = parse_offset(_text(table, (*path, "offset"), "+00:00"))
    if offset is None:
        raise _wrong((*path, "offset"), table.get("offset"), 'hours ahead of UTC such as "+01:00"')
    wanted = tuple(place for place in EVERY_DAY if DAYS[place] in days)
    return Hours(clocks[0], clocks[1], wanted, offset)


def _override(table: Mapping[str, Any], path: Path) -> Override:
    _known(table, ("signal", "until", "why"), path)
    until = table.get("until")
    zoned = getattr(until, "tzinfo", None) is not None
    if not zoned or until is None:
        bounds = "a moment with its offset, such as 2030-01-31T18:00:00Z"
        raise _wrong((*path, "until"), until, bounds)
    until_ms = round(until.timestamp() * THOUSAND)
    return Override(_text(table, (*path, "signal")), until_ms, _text(table, (*path, "why"), ""))


def _committee(table: Mapping[str, Any]) -> Committee:
    _known(table, ("size", "members"), ("committee",))
    members = table.get("members", "auto")
    named = () if members == "auto" else _words(table, ("committee", "members"), ())
    return Committee(_whole(table, ("committee", "size"), MOST_COMMITTEE), named)


def _known(table: Mapping[str, Any], keys: Iterable[str], path: Path) -> None:
    names = tuple(keys)
    for key in table:
        if key not in names:
            raise Wrong((*path, key), "", nearest(key, names))


def _table(value: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, value, f"a table: [{show_path(path)}]")
    return value


def _tables(raw: Mapping[str, Any], path: Path) -> list[Mapping[str, Any]]:
    found = raw.get(str(path[-1]), [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _wrong(path, found, f"tables: [[{show_path(path)}]]")
    return found


def _list(value: Any, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, value, "a list: [ ... ]")
    return value


def _words(table: Mapping[str, Any], path: Path, usual: Iterable[str]) -> tuple[str, ...]:
    key = str(path[-1])
    if key not in table:
        return tuple(usual)
    found = _list(table[key], path)
    for each in found:
        if not isinstance(each, str):
            raise _wrong(path, each, 'texts: ["...", "..."]')
    return tuple(found)


def _text(table: Mapping[str, Any], path: Path, usual: str | None = None) -> str:
    value = table.get(str(path[-1]), usual)
    if not isinstance(value, str):
        raise _wrong(path, value, "a text in quotes")
    return value


def _flag(table: Mapping[str, Any], path: Path, *, default: bool) -> bool:
    value = table.get(str(path[-1]), default)
    if not isinstance(value, bool):
        raise _wrong(path, value, "true or false")
    return value


def _whole(table: Mapping[str, Any], path: Path, usual: int) -> int:
    value = table.get(str(path[-1]), usual)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(path, value, "a whole number")
    return value


def _scaled(table: Mapping[str, Any], path: Path, scale: int, usual: int) -> int:
    key = str(path[-1])
    return _number(table[key], path, scale) if key in table else usual


def _number(value: Any, path: Path, scale: int) -> int:
    """Return a decimal number as a whole number of its smallest part."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, value, "a number")
    if not abs(value) <= MAX_VALUE // MILLION:
        raise _wrong(path, value, f"at most {MAX_VALUE // MILLION} either way")
    whole = round(value * scale)
    if abs(value * scale - whole) > _EPSILON:
        raise _wrong(path, value, f"at most {len(str(scale)) - 1} decimals")
    return whole


def _wrong(path: Path, value: object, bounds: str) -> Wrong:
    return Wrong(path, _show(value), bounds)


def _show(value: object) -> str:
    shown = repr(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"  # noqa: PLR2004 - a line of a terminal
