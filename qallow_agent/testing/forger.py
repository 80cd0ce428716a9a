"""A forger: a member that keeps a second history of its log and shows it to whom it likes."""

from collections.abc import Sequence

from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import NodeKeys, SigningKey, derive
from qallow_agent.base.machine import Send
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.growth import Growth
from qallow_agent.ledger.kinds import HeadOffered
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.note import Note
from qallow_agent.ledger.proofs import prove_consistency
from qallow_agent.ledger.seats import Card
from qallow_agent.ledger.signing import sign_checkpoint
from qallow_agent.ledger.tiles import Tile, TiledTree


class Forger:
    """Signs another history of a log with the log's own key.

    Args:
        card: Of the log.
        keys: Of its node.
        entries: What both histories share.
    """

    def __init__(self, card: Card, keys: NodeKeys, entries: Sequence[bytes]) -> None:
        self._card = card
        self._key = SigningKey(derive(keys.ledger, "log"))
        self._tiles: dict[Tile, bytes] = {}
        self._growth = Growth()
        self._shared = len(entries)
        for entry in entries:
            self.write(entry)

    def write(self, entry: bytes) -> None:
        """Add an entry to the second history."""
        self._tiles.update(self._growth.append(leaf_hash(entry)))

    def head(self) -> bytes:
        """Return the signed head of the second history."""
        point = Checkpoint(self._card.origin, self._growth.size, self._growth.root())
        return Note(point.text(), (sign_checkpoint(point, self._key),)).encode()

    def offers(self, version: int, victims: Sequence[NodeId]) -> list[Send]:
        """Return the offers of the second history, proved from where both part."""
        size = self._growth.size
        proof = prove_consistency(self._shared, size, TiledTree(size, self._tile).node)
        offer = HeadOffered(version, self._card, self._shared, proof, self.head())
        return [Send(victim, offer) for victim in victims]

    def _tile(self, tile: Tile) -> bytes:
        index, hashes = self._growth.growing(tile.level)
        if tile.index == index:
            return b"".join(hashes[: tile.width])
        return self._tiles[Tile(tile.level, tile.index)][: tile.width * 32]
