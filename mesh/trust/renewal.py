"""Keeping our own certificate fresh: asked of an issuer at half of its life, every sweep."""

from collections.abc import Container

from qallow_agent.base.errors import JoinRefused
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Effect, Instant, Send
from qallow_agent.base.notice import Notice
from qallow_agent.mesh.trust.acquaintances import Acquaintances
from qallow_agent.mesh.trust.certificates import PRIVILEGED, verify_credential
from qallow_agent.mesh.trust.papers import Papers
from qallow_agent.mesh.trust.standing import due, reissue, subject_of
from qallow_agent.mesh.wire.kinds import Certificate, Credential, Renew, Renewed, Role


class Renewal:
    """Renews our certificate by ourselves where we hold the mesh key, else through an issuer.

    Args:
        papers: Our keys and standing; its credential is replaced on success.
        known: Members met, among them the issuers.
    """

    def __init__(self, papers: Papers, known: Acquaintances) -> None:
        self._papers = papers
        self._known = known
        self._tries = 0

    def sweep(self, now: Instant) -> tuple[bool, list[Effect]]:
        """Renew if it is time; return whether our credential changed, and whom to ask if not."""
        papers = self._papers
        certificate = papers.standing.certificate
        now_s = now.wall_ns // 1_000_000_000
        if not due(certificate, now_s):
            return False, []
        if papers.mesh_key is not None:
            fresh = reissue(certificate, papers.keys, now_s)
            papers.renewed_by(Credential(fresh, papers.standing.credential.binding))
            return True, []
        issuers = self._issuers()
        self._tries += 1
        if not issuers:
            return False, [_nobody_to_ask(certificate, now_s)]
        asked = issuers[(self._tries - 1) % len(issuers)]
        return False, [Send(asked, Renew(papers.standing.credential))]

    def take(
        self, sender: NodeId, renewed: Renewed, revoked: Container[NodeId], now: Instant
    ) -> bool:
        """Take on a fresh certificate; return whether it was newer than ours.

        Raises:
            PeerError: It is not good, not ours, or says something else about us than before.
        """
        papers = self._papers
        mine, fresh = papers.standing.certificate, renewed.certificate
        authority = None
        if fresh.issuer != papers.standing.mesh:
            item = self._known.get(sender)
            authority = item.credential.certificate if item is not None else None
        credential = Credential(fresh, papers.standing.credential.binding, authority)
        verify_credential(
            credential,
            mesh=papers.standing.mesh,
            mesh_key=papers.standing.mesh_key,
            now_s=now.wall_ns // 1_000_000_000,
            revoked=revoked,
        )
        if subject_of(fresh) != subject_of(mine):
            raise JoinRefused("a renewed certificate is not about us as we were")
        if fresh.expires_s <= mine.expires_s:
            return False
        papers.renewed_by(credential)
        self._tries = 0
        return True

    def _issuers(self) -> list[NodeId]:
        """Return linked members that can renew us: founders first, then other issuers."""
        privileged = any(role in PRIVILEGED for role in self._papers.standing.certificate.roles)
        wanted = (Role.OWNER,) if privileged else (Role.OWNER, Role.ISSUER)
        ranked: list[tuple[int, NodeId]] = []
        for node in self._known.linked():
            item = self._known.get(node)
            roles = item.credential.certificate.roles if item is not None else ()
            ranks = [rank for rank, role in enumerate(wanted) if role in roles]
            ranked += [(min(ranks), node)] if ranks else []
        return [node for _, node in sorted(ranked)]


def _nobody_to_ask(certificate: Certificate, now_s: int) -> Notice:
    left_s = certificate.expires_s - now_s
    urgent = left_s < (certificate.expires_s - certificate.issued_s) / 4
    return Notice(
        "trust.unrenewed",
        "our certificate should be renewed, but no issuer is reachable",
        "warning" if urgent else "debug",
        {"expires_in_s": left_s},
    )
