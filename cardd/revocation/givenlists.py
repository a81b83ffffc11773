"""Revocation by lists that came with a request (RFC 5280 §6.3); blocking, for a thread of its own.

These lists are trusted for nothing: their signature, issuer, scope, times and deltas are verified by
pyhanko-certvalidator against the path itself.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

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

from cardd.revocation.paths import Material, PathRules, context_of
from cardd.revocation.types import Freshness, Reason, RevocationAnswer, Status

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


async def _answers(
    path: ValidationPath, material: Material, rules: PathRules, moment: datetime, crls: Sequence[bytes]
) -> list[RevocationAnswer]:
    context = context_of(material, rules, moment, _BY_LISTS, crls)
    context.record_validation(path[0], ValidationPath(path.trust_anchor, [], None))
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
        except (CRLNoMatchesError, CRLValidationError):
            found.append(_undecided(Freshness.UNAVAILABLE))
        else:
            context.record_validation(certificate, upwards)
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
