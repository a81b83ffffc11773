"""What a validation has to say, in plain words, in French and in English.

Each code stands for one thing that a person can act on; the sentence names the certificate and the moment.
Severities decide the result: an `error` makes it invalid (or revoked), a `gap` indeterminate, a `warning`
and an `info` leave it as it is (ETSI EN 319 102-1 §5.1.3 tells the failed from the undecided the same way).
"""

from enum import StrEnum, unique

import msgspec

from cardd.text import Text


@unique
class Severity(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    """The certificate must not be accepted."""
    GAP = "gap"
    """Something is missing to decide."""
    WARNING = "warning"
    """Accepted, and somebody should look at it."""
    INFO = "info"
    """Good to know."""


@unique
class FindingCode(StrEnum):
    """What was found. Stable: applications may decide on it."""

    CERTIFICATE_UNREADABLE = "certificate_unreadable"
    ISSUER_UNKNOWN = "issuer_unknown"
    NOT_TRUSTED = "not_trusted"
    DOMAIN_NOT_ACCEPTED = "domain_not_accepted"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    SIGNATURE_WRONG = "signature_wrong"
    ALGORITHM_WEAK = "algorithm_weak"
    NOT_A_CA = "not_a_ca"
    NAME_MISMATCH = "name_mismatch"
    NAME_NOT_PERMITTED = "name_not_permitted"
    POLICY_MISSING = "policy_missing"
    EXTENSION_UNKNOWN = "extension_unknown"
    USAGE_NOT_ALLOWED = "usage_not_allowed"
    PATH_BROKEN = "path_broken"
    REVOKED = "revoked"
    REVOKED_LATER = "revoked_later"
    STATUS_UNAVAILABLE = "status_unavailable"
    LIST_STALE = "list_stale"
    LIST_EXPIRED = "list_expired"
    LIST_INSUFFICIENT = "list_insufficient"
    LIST_SIGNER_UNFIT = "list_signer_unfit"
    ARCHIVE_MISSING = "archive_missing"
    STATUS_NOT_ASKED = "status_not_asked"
    IGC_CPS_RETIRED = "igc_cps_retired"
    IGC_SANTE = "igc_sante"
    IGC_SANTE_TEST = "igc_sante_test"
    LOCAL_TEST = "local_test"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found; `certificate` is its place in the path, 0 being the certificate asked about."""

    code: FindingCode
    severity: Severity
    detail: Text
    certificate: int | None = None
    advice: Text | None = None


class Place(msgspec.Struct, frozen=True):
    """A certificate of the path, as sentences name it."""

    index: int
    subject: str

    @property
    def words(self) -> Text:
        """Name the certificate within a sentence."""
        if self.index == 0:
            return Text("the certificate", "le certificat")
        return Text(f"the CA certificate “{self.subject}”", f"le certificat d’AC « {self.subject} »")


def about(
    code: FindingCode,
    place: Place | None,
    en: str,
    fr: str,
    *,
    severity: Severity = Severity.ERROR,
    advice: Text | None = None,
) -> Finding:
    """Make a finding; `{it}` in the sentences becomes the words for the certificate at `place`."""
    words = place.words if place is not None else Text("the certificate", "le certificat")
    return Finding(
        code=code,
        severity=severity,
        detail=Text(_sentence(en, words.en), _sentence(fr, words.fr)),
        certificate=place.index if place is not None else None,
        advice=advice,
    )


def _sentence(template: str, words: str) -> str:
    filled = template.replace("{it}", words)
    return filled[:1].upper() + filled[1:]
