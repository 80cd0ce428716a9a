"""Log lines: one subscriber of the notice stream. Text on a terminal, JSON otherwise."""

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from qallow_agent.base.notice import Notice

LOGGER = logging.getLogger("qallow_agent")

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class TextFormatter(logging.Formatter):
    """``12:30:01.250 warning member.suspect  a member does not answer  node=...``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        facts = "  ".join(f"{key}={value}" for key, value in getattr(record, "facts", {}).items())
        event = getattr(record, "event", record.name)
        line = (
            f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d} "
            f"{record.levelname.lower():7} {event}  {record.getMessage()}"
        )
        return f"{line}  {facts}".rstrip() + _traceback(self, record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, event, msg and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document = {
            "ts": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "msg": record.getMessage() + _traceback(self, record),
            **getattr(record, "facts", {}),
        }
        return json.dumps(document, default=str)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""


def start_logging(level: str, form: str) -> None:
    """Send the agent's log to stderr.

    Args:
        level: debug, info, warning or error.
        form: ``text``, ``json``, or ``auto`` (text on a terminal, JSON otherwise).
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(_LEVELS[level])
    LOGGER.propagate = False


class Chronicle:
    """Writes notices to the log; a notice that repeats within ten seconds is counted instead.

    Args:
        now_s: Reads the monotonic clock.
    """

    QUIET_S = 10.0
    MAX_EVENTS = 512

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, notice: Notice) -> None:
        """Log a notice, with how often it was held back since."""
        subject = str(notice.facts.get("node", "")) + str(notice.facts.get("device", ""))
        key, now_s = (notice.event, subject), self._now_s()
        last_s, held = self._said.get(key, (-self.QUIET_S, 0))
        if now_s - last_s < self.QUIET_S and notice.level != "error":
            self._said[key] = (last_s, held + 1)
            return
        if len(self._said) >= self.MAX_EVENTS:
            self._said.clear()
        self._said[key] = (now_s, 0)
        facts = notice.facts | ({"repeated": held} if held else {})
        LOGGER.log(
            _LEVELS[notice.level], notice.text, extra={"event": notice.event, "facts": facts}
        )
