"""What a node shows and may sign: its keys, its standing, its contact."""

from dataclasses import dataclass

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import BadSignature, NotAllowed
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import NodeKeys, SigningKey, verify
from qallow_agent.mesh.trust.certificates import Subject, issue
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.trust.standing import Standing
from qallow_agent.mesh.wire.kinds import Certificate, Credential, Hello, Role

_HELLO = "qallow/hello/v1"


@dataclass(slots=True)
class Papers:
    """Shared by the parts of the trust room; only ``standing`` changes, when we are renewed."""

    keys: NodeKeys
    standing: Standing
    contact: Contact
    settings: TrustSettings

    @property
    def node(self) -> NodeId:
        """Our node id."""
        return self.standing.node

    @property
    def mesh_key(self) -> SigningKey | None:
        """The mesh's private key, where this node holds the one its mesh is named after."""
        key = self.keys.mesh
        return key if key is not None and key.id == self.standing.mesh else None

    def may_issue(self) -> bool:
        """Return whether this node can sign certificates that others believe."""
        return self.mesh_key is not None or Role.ISSUER in self.standing.certificate.roles

    def signer(self) -> tuple[SigningKey, Certificate | None]:
        """Return the strongest key to sign with, and the certificate that gives it authority.

        Raises:
            NotAllowed: This node holds neither the mesh key nor the issuing role.
        """
        if self.mesh_key is not None:
            return self.mesh_key, None
        if not self.may_issue():
            raise NotAllowed(
                "this node does not hold the issuing role",
                hint="run the command on the mesh's founder or another issuer",
            )
        return self.keys.identity, self.standing.certificate

    def grant(
        self, subject: Subject, now_s: int, lifetime_s: float
    ) -> tuple[Certificate, Certificate | None]:
        """Return a fresh certificate and the issuer's own, if that is not the mesh key.

        Raises:
            NotAllowed: This node cannot issue.
            JoinRefused: It may not grant one of the roles.
        """
        key, authority = self.signer()
        certificate = issue(
            key,
            subject,
            mesh=self.standing.mesh,
            now_s=now_s,
            lifetime_s=lifetime_s,
            authority=authority,
        )
        return certificate, authority

    def hello(self, to: NodeId, *, answer: bool) -> Hello:
        """Return our Hello for one node, signed."""
        unsigned = Hello(self.standing.credential, self.contact, answer=answer, to=to)
        signature = self.keys.identity.sign(_hello_bytes(unsigned))
        return msgspec.structs.replace(unsigned, signature=signature)

    def renewed_by(self, credential: Credential) -> None:
        """Take on a fresh credential."""
        self.standing = msgspec.structs.replace(self.standing, credential=credential)


def check_hello(hello: Hello, me: NodeId) -> None:
    """Check that a Hello was written by the node it shows, for us.

    Raises:
        BadSignature: It was meant for another node, or its signature does not fit.
    """
    if hello.to != me:
        raise BadSignature("a Hello was meant for another node")
    verify(hello.credential.certificate.node_key, _hello_bytes(hello), hello.signature)


def _hello_bytes(hello: Hello) -> bytes:
    return canonical(_HELLO, msgspec.structs.replace(hello, signature=b""))
