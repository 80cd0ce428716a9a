"""People: whether somebody sits at this machine, and how long ago they touched it.

Read from the files that logind keeps for others to read, and from the access times of terminals;
no message bus is asked.
"""

from collections.abc import Callable
from pathlib import Path

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.runtime.sensing.files import ROOT, folders, text

SOURCE = "logind sessions"
_PERSONAL = ("user", "user-early", "user-light")
_GRAPHICAL = ("x11", "wayland", "mir")
NOBODY = "no session of a person is on a seat of this machine"


class People:
    """Looks at the sessions of this machine's seats.

    Args:
        root: Where run/ and dev/ lie.
        wall: Seconds since 1970, as files' times are.
    """

    def __init__(self, wall: Callable[[], float], root: Path = ROOT) -> None:
        self._root = root
        self._wall = wall

    def seated(self) -> bool:
        """Return whether a person is logged in at the machine itself."""
        return bool(self._sessions())

    def read(self) -> Reading:
        """Return the seconds since the last input at a seat; unknown where nobody sits.

        An unlocked desktop tells its input to nobody but the message bus: its person counts as
        here. A locked one has been left since it was locked.
        """
        sessions = self._sessions()
        if not sessions:
            return unknown("seconds", SOURCE, NOBODY)
        away_s = min(self._away_s(path, facts) for path, facts in sessions)
        sure = all(facts.get("TYPE") not in _GRAPHICAL for _, facts in sessions)
        why = "" if sure else "an unlocked desktop counts as used now, a locked one since its lock"
        return Reading(away_s, "seconds", SOURCE, "measured" if sure else "estimated", why)

    def _sessions(self) -> list[tuple[Path, dict[str, str]]]:
        found: list[tuple[Path, dict[str, str]]] = []
        for path in folders(self._root / "run/systemd/sessions", "*"):
            if path.suffix == ".ref":
                continue  # a pipe that holds the session open: reading it would block
            facts = dict(line.partition("=")[::2] for line in text(path).splitlines())
            personal = facts.get("CLASS", "user") in _PERSONAL
            if facts.get("SEAT") and personal and facts.get("STATE") != "closing":
                found.append((path, facts))
        return found

    def _away_s(self, path: Path, facts: dict[str, str]) -> Seconds:
        now_s = self._wall()
        touched = [self._root / "dev" / facts["TTY"]] if facts.get("TTY") else []
        if facts.get("TYPE") in _GRAPHICAL:
            if facts.get("LOCKED_HINT") not in {"1", "yes"}:
                return 0.0
            locked_s = _time(path, changed=True)
            return max(0.0, now_s - locked_s) if locked_s else 0.0
        touched += [each for each in folders(self._root / "dev/pts", "[0-9]*")
                    if _owner(each) == facts.get("UID", "")]  # fmt: skip
        times = [moment for each in touched if (moment := _time(each))]
        return max(0.0, now_s - max(times)) if times else 0.0


def _time(path: Path, *, changed: bool = False) -> float:
    """Return when a file was last read, or changed; 0 when it cannot be looked at."""
    try:
        facts = path.stat()
    except OSError:
        return 0.0
    return facts.st_mtime if changed else facts.st_atime


def _owner(path: Path) -> str:
    try:
        return str(path.stat().st_uid)
    except OSError:
        return ""
