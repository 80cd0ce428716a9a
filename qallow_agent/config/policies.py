"""Policies from files: TOML to what the policy room takes, with errors that name file and line."""

import tomllib
from pathlib import Path
from typing import Any

from qallow_agent.base.errors import ConfigError
from qallow_agent.ethics.document import Source, mesh_policy, owner_policy
from qallow_agent.ethics.mesh_policy import MeshPolicy
from qallow_agent.ethics.owner import OwnerPolicy

_MAX_FILE_BYTES = 1 << 18


def read_mesh_policy(path: str | Path) -> MeshPolicy:
    """Return the mesh's policy that a file describes.

    Raises:
        ConfigError: The file cannot be read, is no TOML, or describes no policy.
    """
    raw, source = _read(path)
    return mesh_policy(raw, source)


def read_owner_policy(path: str | Path) -> OwnerPolicy:
    """Return the owner's policy that a file describes.

    Raises:
        ConfigError: The file cannot be read, is no TOML, or describes no policy.
    """
    raw, source = _read(path)
    return owner_policy(raw, source)


def read_owner_file(path: str) -> OwnerPolicy | None:
    """Return the owner's policy of the file that a setting names; None when it names none.

    Raises:
        ConfigError: The file cannot be read, is no TOML, or describes no policy.
    """
    return read_owner_policy(Path(path).expanduser()) if path else None


def _read(path: str | Path) -> tuple[dict[str, Any], Source]:
    try:
        with Path(path).open("rb") as opened:
            data = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"the policy {path} cannot be read: {error.strerror}", hint="name an existing file"
        ) from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than a policy can be", hint="at most 256 KiB")
    try:
        text = data.decode()
        return tomllib.loads(text), Source(str(path), text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"the policy {path} is not TOML: {error}", hint="quote texts, one key a line"
        ) from error
