"""Trust policies: which logs are believed, and how many of which witnesses must have cosigned.

Source: C2SP tlog-policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qallow_agent.base.errors import BadSignature, ConfigError, Malformed
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.note import Note, verified
from qallow_agent.ledger.signing import KeyKind, NoteKey, parse_note_key

MAX_POLICY_BYTES = 1 << 20
MAX_ITEMS = 256
NONE = "none"


@dataclass(frozen=True, slots=True)
class Group:
    """At least ``least`` of the members must have cosigned."""

    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """What makes a head believable.

    Args:
        logs: Keys of logs; any one of them must have signed, under the origin it is named by.
        witnesses: Cosigners by the policy's own names for them.
        groups: Groups by name.
        quorum: The witness or group that must have cosigned; ``none`` for nobody.
    """

    logs: tuple[NoteKey, ...]
    witnesses: Mapping[str, NoteKey]
    groups: Mapping[str, Group]
    quorum: str

    def check(self, note: Note) -> None:
        """Check that a head is signed as this policy asks.

        Raises:
            BadSignature: A known key's signature does not verify, no known log has signed, or too
                few witnesses have.
            Malformed: The note is no checkpoint.
        """
        origin = parse_checkpoint(note.text).origin
        signers = verified(note, [*self.logs, *self.witnesses.values()])
        if not any(each in signers and each.name == origin for each in self.logs):
            raise BadSignature(f"{origin!r} is not signed by a log that the policy knows")
        seen = frozenset(name for name, key in self.witnesses.items() if key in signers)
        if not self.satisfied(seen):
            have = ", ".join(sorted(seen)) or "nobody"
            raise BadSignature(f"cosigned by {have}, the policy asks for {self.quorum!r}")

    def satisfied(self, cosigned: frozenset[str]) -> bool:
        """Return whether witnesses, by their names here, are enough."""
        return self.quorum == NONE or self._holds(self.quorum, cosigned)

    def _holds(self, name: str, cosigned: frozenset[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in cosigned
        return sum(self._holds(each, cosigned) for each in group.members) >= group.least


def parse_policy(text: str) -> TrustPolicy:
    """Return the policy that a file holds.

    Raises:
        ConfigError: A line is wrong; the message names it.
    """
    if len(text.encode()) > MAX_POLICY_BYTES:
        raise ConfigError("the policy is too long", hint=f"at most {MAX_POLICY_BYTES} bytes")
    draft = _Draft()
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            draft.take(words)
        except (Malformed, ValueError) as error:
            raise ConfigError(f"line {number} of the policy: {error}") from error
    return draft.finish()


@dataclass(slots=True)
class _Draft:
    """A policy while it is read, line by line."""

    logs: list[NoteKey] = field(default_factory=list)
    witnesses: dict[str, NoteKey] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    members: dict[str, None] = field(default_factory=dict)
    quorum: str = ""

    def take(self, words: list[str]) -> None:
        takers: dict[str, Callable[[list[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }
        taker = takers.get(words[0])
        if taker is None:
            raise ValueError(f"{words[0]!r} is none of {', '.join(takers)}")
        if len(self.logs) + len(self.witnesses) + len(self.groups) >= MAX_ITEMS:
            raise ValueError(f"more than {MAX_ITEMS} logs, witnesses and groups")
        taker(words[1:])

    def finish(self) -> TrustPolicy:
        if not self.quorum:
            raise ConfigError(
                "the policy names no quorum", hint="add a line: quorum NAME (or none)"
            )
        return TrustPolicy(tuple(self.logs), self.witnesses, self.groups, self.quorum)

    def _log(self, words: list[str]) -> None:
        key = self._key(words, at=0)
        if key.kind is KeyKind.COSIGNER:
            raise ValueError("a log's key signs notes or is of ML-DSA-44; this is a cosigner's")
        if any(each.public == key.public for each in self.logs):
            raise ValueError(f"the key of log {key.name} is there already")
        self.logs.append(key)

    def _witness(self, words: list[str]) -> None:
        key = self._key(words, at=1)
        if key.kind is KeyKind.LOG:
            raise ValueError("a witness needs a cosigner's key; this is a log's")
        if any(each.public == key.public for each in self.witnesses.values()):
            raise ValueError(f"the key of witness {words[0]} is there already")
        self.witnesses[self._new(words[0])] = key

    def _group(self, words: list[str]) -> None:
        if len(words) < 3:  # noqa: PLR2004 - name, threshold, one member
            raise ValueError("a group needs a name, a number (or any, all) and members")
        name, wanted, *members = words
        for member in members:
            self._known(member)
            if member in self.members:
                raise ValueError(f"{member!r} is in a group already")
            self.members[member] = None
        number = {"any": 1, "all": len(members)}.get(wanted)
        if number is None:
            number = int(wanted) if wanted.isascii() and wanted.isdigit() else 0
        if not 1 <= number <= len(members):
            raise ValueError(f"{wanted!r} of {len(members)} members makes no sense")
        self.groups[self._new(name)] = Group(number, tuple(members))

    def _quorum(self, words: list[str]) -> None:
        if self.quorum or len(words) != 1:
            raise ValueError("there is one quorum line, and it names one witness or group")
        if words[0] != NONE:
            self._known(words[0])
        self.quorum = words[0]

    def _key(self, words: list[str], at: int) -> NoteKey:
        if not at < len(words) <= at + 2:
            raise ValueError("a key is missing, or there are more words than a key and an address")
        return parse_note_key(words[at])

    def _known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise ValueError(f"{name!r} is defined nowhere above")

    def _new(self, name: str) -> str:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise ValueError(f"the name {name!r} is taken")
        return name
