"""Small files of /sys and /proc: a value, or the reason why there is none."""

from pathlib import Path

from qallow_agent.base.reading import Reading, unknown

ROOT = Path("/")
"""Where sys/ and proc/ lie; tests hand in a folder of their own."""


def text(path: Path) -> str:
    """Return what a small file says, without the blanks around it; "" when it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> float | None:
    """Return the number in a small file; None when it cannot be read or holds none."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def reading(path: Path, unit: str, source: str, scale: float = 1.0) -> Reading:
    """Return the number in a small file as a reading; an unknown one says what stood in the way.

    Args:
        path: The file.
        unit: Of the reading.
        source: Told in the reading.
        scale: What one in the file is in ``unit``.
    """
    try:
        return Reading(float(path.read_text()) * scale, unit, source)
    except PermissionError:
        return unknown(unit, source, f"{path} is not readable for this user")
    except FileNotFoundError:
        return unknown(unit, source, f"there is no {path}")
    except (OSError, ValueError) as error:
        return unknown(unit, source, f"{path}: {error}")


def folders(parent: Path, pattern: str) -> list[Path]:
    """Return the matching entries of a folder in order of name; none when it does not exist."""
    try:
        return sorted(parent.glob(pattern))
    except OSError:
        return []
