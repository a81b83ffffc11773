"""Certification paths (RFC 5280 §6.1) by pyhanko-certvalidator; blocking, for a thread of its own.

Revocation is left out here on purpose: the index answers for it, or the lists that came with a request
(see `givenlists`). A path that is out of time is looked at once more within its time, so that every
other fault of it is told too.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from asn1crypto import x509 as asn1
from cryptography.exceptions import UnsupportedAlgorithm
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import (
    DisallowedAlgorithmError,
    ExpiredError,
    NotYetValidError,
    PathBuildingError,
    ValidationError,
)
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    DEFAULT_WEAK_HASH_ALGOS,
    NO_REVOCATION,
    AlgorithmUsagePolicy,
    CertRevTrustPolicy,
    DisallowWeakAlgorithmsPolicy,
    PKIXValidationParams,
)
from pyhanko_certvalidator.sig_validate import SignatureValidator
from pyhanko_certvalidator.validate import async_validate_path

from cardd.revocation.facts import CertificateFacts, facts_of, parsed_certificate
from cardd.revocation.findings import Finding, FindingCode, Place, about

#: Cross-certified CAs multiply paths; those beyond are not tried.
_MOST_PATHS = 16
#: DSA keys of the past are this long (FIPS 186-2).
_LEGACY_DSA_BITS = 1024


@dataclass(frozen=True)
class PathRules:
    """The inputs of path validation (RFC 5280 §6.1.1)."""

    policies: Sequence[str] = ()
    require_explicit_policy: bool = False
    inhibit_policy_mapping: bool = False
    inhibit_any_policy: bool = False
    legacy_algorithms: bool = False

    def parameters(self) -> PKIXValidationParams:
        """Return them for the library."""
        return PKIXValidationParams(
            user_initial_policy_set=frozenset(self.policies or ["any_policy"]),
            initial_explicit_policy=self.require_explicit_policy,
            initial_policy_mapping_inhibit=self.inhibit_policy_mapping,
            initial_any_policy_inhibit=self.inhibit_any_policy,
        )

    def algorithms(self) -> AlgorithmUsagePolicy:
        """Return which signature algorithms are taken."""
        if self.legacy_algorithms:
            return DisallowWeakAlgorithmsPolicy(  # type: ignore[no-untyped-call]
                weak_hash_algos=DEFAULT_WEAK_HASH_ALGOS - {"sha1"}, dsa_key_size_threshold=_LEGACY_DSA_BITS
            )
        return DisallowWeakAlgorithmsPolicy()  # type: ignore[no-untyped-call]


class Material:
    """What paths are built from, parsed once. Parsed certificates are named by identity: encoding one anew
    may change it, since not every certificate in use is DER through and through.
    """

    def __init__(
        self, certificate: bytes, *, intermediates: Sequence[bytes], anchors: Sequence[bytes]
    ) -> None:
        """Parse the certificates, DER; raises `ValueError`."""
        self._der: dict[int, bytes] = {}
        self.leaf = self._parse(certificate)
        self.others = [self._parse(der) for der in intermediates]
        self.roots = [self._parse(der) for der in anchors]

    def der(self, certificate: asn1.Certificate) -> bytes:
        """Return the DER that a parsed certificate came from."""
        return self._der[id(certificate)]

    def facts(self, certificate: asn1.Certificate) -> CertificateFacts:
        """Return what is said of a parsed certificate."""
        return facts_of(self.der(certificate))

    def authorities(self) -> list[CertificateFacts]:
        """Return what is said of every certificate that might have been an issuer."""
        return [self.facts(each) for each in (*self.others, *self.roots)]

    def upwards(self, path: ValidationPath) -> list[bytes]:
        """Return the certificates of a path from the one asked about up to the anchor, DER."""
        return [self.der(each) for each in reversed(list(path.iter_certs(include_root=True)))]

    def place(self, path: ValidationPath, index: int) -> Place:
        """Return the place of the `index`-th certificate of a path counted from its anchor, which is 0."""
        return Place(path.pkix_len - index, self.facts(path[index]).subject)

    def _parse(self, der: bytes) -> asn1.Certificate:
        parsed = parsed_certificate(der)
        self._der[id(parsed)] = der
        return parsed


@dataclass(frozen=True)
class Candidate:
    """One path and what is wrong with it, revocation aside."""

    path: ValidationPath
    certificates: tuple[bytes, ...]
    """From the one asked about up to the anchor, DER."""
    findings: tuple[Finding, ...]


def candidates(material: Material, rules: PathRules, moment: datetime) -> list[Candidate]:
    """Return every path to an anchor, with its findings; none where no issuer is known.

    Raises `ValueError` for a certificate that the library cannot work with.
    """
    try:
        return asyncio.run(_candidates(material, rules, moment))
    except (TypeError, KeyError, AttributeError, AssertionError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None


def context_of(
    material: Material,
    rules: PathRules,
    moment: datetime,
    policy: CertRevTrustPolicy,
    *,
    crls: Sequence[bytes] = (),
    verifier: SignatureValidator | None = None,
) -> ValidationContext:
    """Return the library's context, which fetches nothing."""
    return ValidationContext(
        trust_roots=material.roots,
        other_certs=material.others,
        crls=list(crls),
        moment=moment,
        allow_fetching=False,
        revinfo_policy=policy,
        algorithm_usage_policy=rules.algorithms(),
        signature_validator=verifier,
    )


async def _candidates(material: Material, rules: PathRules, moment: datetime) -> list[Candidate]:
    context = context_of(material, rules, moment, _WITHOUT_REVOCATION)
    found: list[Candidate] = []
    paths = context.path_builder.async_build_paths_lazy(material.leaf)
    try:
        async for path in paths:
            findings = await _findings(path, material, rules, moment)
            found.append(Candidate(path, tuple(material.upwards(path)), tuple(findings)))
            if len(found) == _MOST_PATHS:
                break
    except PathBuildingError:
        return found
    finally:
        await paths.cancel()  # type: ignore[no-untyped-call]
    return found


_WITHOUT_REVOCATION = CertRevTrustPolicy(NO_REVOCATION)


async def _findings(
    path: ValidationPath, material: Material, rules: PathRules, moment: datetime
) -> list[Finding]:
    out_of_time = _validity_findings(path, material, moment)
    inside = _common_moment(path) if out_of_time else moment
    if inside is None:
        return out_of_time
    context = context_of(material, rules, inside, _WITHOUT_REVOCATION)
    try:
        await async_validate_path(context, path, rules.parameters())
    except (ExpiredError, NotYetValidError):
        return out_of_time
    except ValidationError as error:
        return [*out_of_time, _explained(error, path, material)]
    return out_of_time


def _validity_findings(path: ValidationPath, material: Material, moment: datetime) -> list[Finding]:
    """Return who on the path is out of time; its anchor too, since a retired root accepts nothing any more."""
    findings = []
    for index, certificate in enumerate(path.iter_certs(include_root=True)):
        place = material.place(path, index)
        begins, ends = certificate.not_valid_before, certificate.not_valid_after
        if moment < begins:
            findings.append(
                about(
                    FindingCode.NOT_YET_VALID,
                    place,
                    f"{{it}} is valid from {begins:%Y-%m-%d %H:%M:%S} UTC only.",
                    f"{{it}} n’est valide qu’à partir du {begins:%d/%m/%Y %H:%M:%S} UTC.",
                )
            )
        elif moment > ends:
            findings.append(
                about(
                    FindingCode.EXPIRED,
                    place,
                    f"{{it}} expired on {ends:%Y-%m-%d %H:%M:%S} UTC.",
                    f"{{it}} a expiré le {ends:%d/%m/%Y %H:%M:%S} UTC.",
                )
            )
    return findings


def _common_moment(path: ValidationPath) -> datetime | None:
    certificates = list(path.iter_certs(include_root=True))
    begins = max(each.not_valid_before for each in certificates)
    return begins if begins <= min(each.not_valid_after for each in certificates) else None


class _Explanation(NamedTuple):
    """What a sentence of the library means."""

    pattern: re.Pattern[str]
    code: FindingCode
    en: str
    fr: str


def _explanation(pattern: str, code: FindingCode, en: str, fr: str) -> _Explanation:
    return _Explanation(re.compile(pattern), code, en, fr)


_EXPLANATIONS = (
    _explanation(
        "signature of .* could not be verified|signature parameters",
        FindingCode.SIGNATURE_WRONG,
        "the signature of {it} is not that of the issuer it names.",
        "la signature de {it} n’est pas celle de l’émetteur qu’il nomme.",
    ),
    _explanation(
        "issuer name could not be matched",
        FindingCode.NAME_MISMATCH,
        "the issuer that {it} names is not the one above it on the path.",
        "l’émetteur nommé par {it} n’est pas celui qui le précède dans la chaîne.",
    ),
    _explanation(
        "is not a CA|not allowed to sign certificates|maximum path length",
        FindingCode.NOT_A_CA,
        "{it} has signed a certificate that it may not sign (basicConstraints, keyUsage or path length).",
        "{it} a signé un certificat qu’il n’a pas le droit de signer (basicConstraints, keyUsage ou longueur "
        "de chaîne).",
    ),
    _explanation(
        "permitted namespace|excluded from the",
        FindingCode.NAME_NOT_PERMITTED,
        "a name of {it} lies outside what its CA may certify (name constraints).",
        "un nom de {it} sort de ce que son AC a le droit de certifier (contraintes de nom).",
    ),
    _explanation(
        "valid set of policies|policy mapping|policy graph",
        FindingCode.POLICY_MISSING,
        "no acceptable certificate policy holds up to {it}.",
        "aucune politique de certification acceptable ne vaut jusqu’à {it}.",
    ),
    _explanation(
        "unsupported critical extension",
        FindingCode.EXTENSION_UNKNOWN,
        "{it} carries a critical extension that is not understood, and must therefore be refused.",
        "{it} porte une extension critique inconnue et doit donc être refusé.",
    ),
)


def _explained(error: ValidationError, path: ValidationPath, material: Material) -> Finding:
    message = error.failure_msg
    place = _place_named(message, path, material)
    if isinstance(error, DisallowedAlgorithmError):
        return about(
            FindingCode.ALGORITHM_WEAK,
            place,
            "{it} is signed with an algorithm or a key that is too weak today.",
            "{it} est signé avec un algorithme ou une clé trop faible aujourd’hui.",
        )
    for known in _EXPLANATIONS:
        if known.pattern.search(message):
            return about(known.code, place, known.en, known.fr)
    return about(
        FindingCode.PATH_BROKEN,
        place,
        f"the path is not valid: {message}.",
        f"la chaîne n’est pas valide : {message}.",
    )


def _place_named(message: str, path: ValidationPath, material: Material) -> Place:
    named = re.search(r"intermediate certificate (\d+)", message)
    index = int(named[1]) if named else path.pkix_len
    return material.place(path, min(index, path.pkix_len))
