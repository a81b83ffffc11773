"""The PKIs that are told apart, and what is said of their authorities."""

from datetime import datetime
from enum import StrEnum

import msgspec

from cardd.text import Text

#: Password of the Java trust store: Java's own default. The store holds certificates only.
JAVA_PASSWORD = "changeit"  # noqa: S105  (no secret)


class Domain(StrEnum):
    """A PKI; certificates of one are never taken for another's."""

    LOCAL = "local"
    """The test PKI of this daemon."""
    IGC_SANTE_TEST = "igc_sante_test"
    """ANS's IGC-Santé, TEST branch."""
    IGC_SANTE = "igc_sante"
    """ANS's IGC-Santé, production."""
    IGC_CPS = "igc_cps"
    """The retired PKI of GIP-CPS, then ASIP Santé."""
    GIVEN = "given"
    """Anchors that came with a request."""


DOMAIN_NAMES = {
    Domain.LOCAL: Text("this daemon's test PKI", "l’IGC de test de ce démon"),
    Domain.IGC_SANTE_TEST: Text("ANS's IGC-Santé TEST", "l’IGC-Santé TEST de l’ANS"),
    Domain.IGC_SANTE: Text("ANS's IGC-Santé of production", "l’IGC-Santé de production de l’ANS"),
    Domain.IGC_CPS: Text("the retired IGC-CPS", "l’ancienne IGC-CPS"),
    Domain.GIVEN: Text("the anchors of the request", "les ancres fournies avec la demande"),
}


class TrustScope(StrEnum):
    """What a bundle is for."""

    TEST = "test"
    """This daemon's PKI and IGC-Santé TEST."""
    LOCAL = "local"
    """This daemon's PKI alone."""
    IGC_SANTE_TEST = "igc_sante_test"
    """IGC-Santé TEST alone."""
    PRODUCTION = "production"
    """IGC-Santé of production."""


class TrustState(StrEnum):
    """Where an authority stands."""

    ACCEPTED = "accepted"
    """Its certificate is held and in time."""
    RETIRED = "retired"
    """Nothing of it may be relied on any more."""
    NOT_HELD = "not_held"
    """Known by name; its certificate is not held, so nothing of it can be verified."""


class TrustedAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """One authority of the trust list."""

    domain: Domain
    production: bool
    name: str
    """Its common name."""
    subject: str
    """RFC 4514."""
    root: bool
    state: TrustState
    text: Text
    """Why it stands there."""
    reason: str = ""
    """The same in the reader's language."""
    not_before: datetime | None = None
    not_after: datetime | None = None
    fingerprint_sha256: str | None = None
    spki_sha256: str | None = None
    """SHA-256 of its DER SubjectPublicKeyInfo, as `GET /status` takes it."""
    certificate: bytes | None = None
    """DER."""
