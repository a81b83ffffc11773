"""Revocation by lists that came with a request (RFC 5280 §6.3); blocking, for a thread of its own.

These lists are trusted for nothing: their signature, issuer, scope, times and deltas are verified by
pyhanko-certvalidator against the path itself.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from asn1crypto import algos, keys
from cryptography.exceptions import UnsupportedAlgorithm
from pyhanko_certvalidator.errors import (
    CRLNoMatchesError,
    CRLValidationError,
    CRLValidationIndeterminateError,
    RevokedError,
)
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    CertRevTrustPolicy,
    RevocationCheckingPolicy,
    RevocationCheckingRule,
)
from pyhanko_certvalidator.revinfo.validate_crl import verify_crl
from pyhanko_certvalidator.sig_validate import (
    DEFAULT_VALIDATION_CONTEXT,
    DefaultSignatureValidator,
    SignatureValidationContext,
)

from cardd.revocation.paths import Material, PathRules, context_of
from cardd.revocation.types import Freshness, Reason, RevocationAnswer, Status

#: What is wrong with a list is told in findings; the library's warnings would repeat it with a traceback.
logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL)

_BY_LISTS = CertRevTrustPolicy(
    RevocationCheckingPolicy(RevocationCheckingRule.CRL_REQUIRED, RevocationCheckingRule.CRL_REQUIRED)
)


def answers(
    path: ValidationPath, material: Material, rules: PathRules, moment: datetime, crls: Sequence[bytes]
) -> list[RevocationAnswer]:
    """Return the answer for each certificate below the anchor, that of the certificate asked about first.

    Raises `ValueError` for a list that cannot be read.
    """
    return asyncio.run(_answers(path, material, rules, moment, crls))


#: What the library raises where a list is malformed, or where an entry has a critical extension unknown to it.
_UNREADABLE = (ValueError, TypeError, KeyError, AssertionError, NotImplementedError, UnsupportedAlgorithm)


class _InheritedParameters(DefaultSignatureValidator):
    """Verifies with DSA keys whose parameters are those of the key above them (RFC 3279 §2.3.2)."""

    def __init__(self, path: ValidationPath) -> None:
        self._completed: dict[bytes, keys.PublicKeyInfo] = {}
        above: keys.PublicKeyInfo | None = None
        for certificate in path.iter_certs(include_root=True):
            own = certificate.public_key
            if own.algorithm == "dsa" and own["algorithm"]["parameters"].native is None and above is not None:
                completed = own.copy()
                completed["algorithm"]["parameters"] = above["algorithm"]["parameters"]
                self._completed[own.dump()] = own = completed
            above = own

    def validate_signature(
        self,
        signature: bytes,
        signed_data: bytes,
        public_key_info: keys.PublicKeyInfo,
        signature_algorithm: algos.SignedDigestAlgorithm,
        context: SignatureValidationContext = DEFAULT_VALIDATION_CONTEXT,
    ) -> None:
        """Verify a signature; raises `InvalidSignature`."""
        key = self._completed.get(public_key_info.dump(), public_key_info)
        super().validate_signature(signature, signed_data, key, signature_algorithm, context)


async def _answers(
    path: ValidationPath, material: Material, rules: PathRules, moment: datetime, crls: Sequence[bytes]
) -> list[RevocationAnswer]:
    context = context_of(material, rules, moment, _BY_LISTS, crls=crls, verifier=_InheritedParameters(path))
    context.record_validation(path[0], ValidationPath(path.trust_anchor, [], None))  # type: ignore[no-untyped-call]
    found = []
    for index in range(1, path.pkix_len + 1):
        certificate = path[index]
        upwards = ValidationPath(path.trust_anchor, [path[each] for each in range(1, index)], certificate)
        try:
            await verify_crl(certificate, upwards, context)
        except RevokedError as error:
            found.append(_revoked(error))
        except CRLValidationIndeterminateError as error:
            found.append(_undecided(Freshness.EXPIRED if error.suspect_stale else Freshness.UNAVAILABLE))
        except (CRLNoMatchesError, CRLValidationError, *_UNREADABLE):
            found.append(_undecided(Freshness.UNAVAILABLE))
        else:
            context.record_validation(certificate, upwards)  # type: ignore[no-untyped-call]
            found.append(RevocationAnswer(status=Status.GOOD, freshness=Freshness.FRESH))
    return list(reversed(found))


def _revoked(error: RevokedError) -> RevocationAnswer:
    try:
        reason = Reason(error.reason.native)
    except ValueError:
        reason = Reason.UNSPECIFIED
    return RevocationAnswer(
        status=Status.REVOKED, freshness=Freshness.FRESH, reason=reason, revoked_at=error.revocation_dt
    )


def _undecided(freshness: Freshness) -> RevocationAnswer:
    return RevocationAnswer(status=Status.UNKNOWN, freshness=freshness)
