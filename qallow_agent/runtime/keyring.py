"""Key files: 32 raw bytes in hex, mode 0600, owned by us, refused otherwise (as sshd does)."""

import os
import stat
from pathlib import Path

from qallow_agent.base.errors import ConfigError
from qallow_agent.base.keys import KEY_BYTES, CurveKey, NodeKeys, SigningKey
from qallow_agent.runtime.store import storage_error, write_atomically


def read_key(path: Path) -> bytes | None:
    """Return the 32 bytes of a key file, or None when there is no such file.

    Raises:
        ConfigError: Unreadable, readable by others, or not a key; the message names the file.
    """
    try:
        status = path.stat()
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the key {path} cannot be read: {error}", hint="it must be a file of 64 hex digits"
        ) from error
    loose = stat.S_IMODE(status.st_mode) & 0o077
    if loose or status.st_uid not in {os.geteuid(), 0}:
        raise ConfigError(
            f"the key {path} is readable by others "
            f"(mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid})",
            hint=f"chmod 600 {path} (and make a new key if others may have read it)",
        )
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"the key {path} does not hold 64 hex digits",
            hint="restore it from a backup; deleting it makes a new identity",
        )
    return key


def ensure_key(path: Path) -> bytes:
    """Return the key in a file, making it from the system's entropy when it is missing.

    Raises:
        ConfigError: The file is wrong.
        StorageError: It cannot be written.
    """
    key = read_key(path)
    if key is None:
        key = os.urandom(KEY_BYTES)
        try:
            write_atomically(path, key.hex().encode() + b"\n")
        except OSError as error:
            raise storage_error(path, error, path.parent) from error
    return key


def load_keys(directory: Path) -> NodeKeys:
    """Return this node's keys, making all but the mesh's on the first start.

    Raises:
        ConfigError: A key file is wrong.
    """
    mesh_seed = read_key(directory / "mesh.key")
    return NodeKeys(
        identity=SigningKey(ensure_key(directory / "node.key")),
        curve=CurveKey(ensure_key(directory / "curve.key")),
        mesh=None if mesh_seed is None else SigningKey(mesh_seed),
        ledger=ensure_key(directory / "ledger.key"),
    )
