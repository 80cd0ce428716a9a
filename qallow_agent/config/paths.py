"""Where things are when nobody says so: the state directory, the socket, the configuration."""

import os
from collections.abc import Mapping
from pathlib import Path

SYSTEM_STATE = Path("/var/lib/qallow")
SYSTEM_CONFIG = Path("/etc/qallow/agent.toml")
SOCKET_NAME = "agent.sock"


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return the state directory of an agent that is told none.

    systemd's ``STATE_DIRECTORY`` wins; else the user's own, by the XDG base directory rules.
    """
    by_systemd = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if by_systemd:
        return Path(by_systemd)
    return _user_home(environment, "XDG_STATE_HOME", ".local/state") / "qallow"


def default_cache_dir(environment: Mapping[str, str]) -> Path:
    """Return the cache directory of an agent that is told none, by the same rules."""
    by_systemd = environment.get("CACHE_DIRECTORY", "").split(":")[0]
    if by_systemd:
        return Path(by_systemd)
    return _user_home(environment, "XDG_CACHE_HOME", ".cache") / "qallow"


def default_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the configuration files that exist where agents look when none is named.

    The system's, its ``agent.d/*.toml`` in lexical order, then the user's; later ones win.
    """
    user = _user_home(environment, "XDG_CONFIG_HOME", ".config") / "qallow" / SYSTEM_CONFIG.name
    parts = sorted((SYSTEM_CONFIG.parent / "agent.d").glob("*.toml"))
    return tuple(path for path in (SYSTEM_CONFIG, *parts, user) if path.is_file())


def existing_socket(found: Path) -> Path:
    """Return the socket to talk to: the one found by the rules, or the system agent's.

    A user whose own agent does not run means the machine's.
    """
    system = SYSTEM_STATE / SOCKET_NAME
    try:
        return system if not found.exists() and system.exists() else found
    except PermissionError:
        return found


def _user_home(environment: Mapping[str, str], variable: str, below: str) -> Path:
    named = environment.get(variable, "")
    if os.path.isabs(named):  # noqa: PTH117 - the XDG rule is about the text
        return Path(named)
    return Path(environment.get("HOME") or Path("~").expanduser()) / below
