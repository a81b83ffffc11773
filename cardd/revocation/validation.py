"""Validation of a certificate: its path by RFC 5280, its revocation by the cached lists, its PKI by name.

The verdict follows from the findings alone (see `findings.Severity`). Of several paths the one with the
best verdict counts, since one path that holds is enough.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.clock import Clock
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.revocation import givenlists
from cardd.revocation.domains import Domain
from cardd.revocation.facts import CertificateFacts, facts_of, loaded_certificate
from cardd.revocation.findings import Finding, FindingCode, Place, Severity, about
from cardd.revocation.judging import (
    domain_findings,
    out_of_time,
    retired_finding,
    revocation_findings,
    unfit_signer,
    unknown_issuer,
    use_findings,
    verdict,
)
from cardd.revocation.names import spki_sha256
from cardd.revocation.paths import Candidate, Material, PathRules, candidates
from cardd.revocation.reading import certificates_in, list_in
from cardd.revocation.trust import HeldAuthority, TrustStore
from cardd.revocation.types import (
    Freshness,
    FreshnessPolicy,
    PolicyChoice,
    Revocation,
    RevocationAnswer,
    Status,
)
from cardd.revocation.verdicts import (
    FindingView,
    PathElement,
    Result,
    RevocationMode,
    ValidationPolicy,
    ValidationRequest,
    ValidationView,
)
from cardd.text import Language, Text

#: From the best to the worst, for the choice among several paths.
_RANK = {Result.VALID: 0, Result.REVOKED: 1, Result.INDETERMINATE: 2, Result.INVALID: 3}
#: Faults that leave no doubt of who issued the certificate, so that its revocation is still worth asking.
_OF_TIME = frozenset({FindingCode.EXPIRED, FindingCode.NOT_YET_VALID})
#: Paths are built in threads; this many at once, so that a flood of requests leaves the daemon its cores.
_AT_ONCE = 2


@dataclass(frozen=True)
class _Asked:
    """A request, read."""

    facts: CertificateFacts
    der: bytes
    intermediates: tuple[bytes, ...]
    anchors: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    at: datetime | None
    moment: datetime
    policy: ValidationPolicy
    freshness: FreshnessPolicy

    @property
    def rules(self) -> PathRules:
        """The inputs of path validation."""
        return PathRules(
            policies=self.policy.policies,
            require_explicit_policy=self.policy.require_explicit_policy,
            inhibit_policy_mapping=self.policy.inhibit_policy_mapping,
            inhibit_any_policy=self.policy.inhibit_any_policy,
            legacy_algorithms=self.policy.legacy_algorithms,
        )


@dataclass(frozen=True)
class _Verdict:
    """What was concluded on one path, or without any."""

    domain: Domain | None
    findings: Sequence[Finding]
    path: Sequence[CertificateFacts]
    answers: Sequence[RevocationAnswer] = ()

    @property
    def result(self) -> Result:
        """The verdict that follows from the findings."""
        return verdict(self.findings)


@dataclass
class Validation:
    """Validates certificates; `policies` says what a request makes of ageing lists."""

    trust: TrustStore
    revocation: Revocation
    clock: Clock
    policies: PolicyChoice
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def validate(
        self, request: ValidationRequest, language: Language = "en", callers: Iterable[str] = ()
    ) -> ValidationView:
        """Validate a certificate for now, or for a past moment; `callers` are the names of the application that asks.

        Raises `InvalidFieldsError` for what is unreadable and for a freshness policy that there is not.
        """
        freshness = self.policies.of(request.policy.freshness, callers, "policy.freshness")
        asked = _read(request, self.clock.now(), freshness)
        async with self._turns:
            return _view(asked, await self._concluded(asked), language)

    async def _concluded(self, asked: _Asked) -> _Verdict:
        claimed = asked.facts.issuer_domain
        late = out_of_time(asked.facts, asked.moment)
        if claimed is Domain.IGC_CPS:
            return _Verdict(claimed, [retired_finding(asked.moment), *late], [asked.facts])
        held = await asyncio.to_thread(self.trust.held)
        try:
            material = await asyncio.to_thread(_material, asked, held)
            found = await asyncio.to_thread(candidates, material, asked.rules, asked.moment)
        except ValueError as error:
            return _Verdict(claimed, [_unreadable(error), *late], [asked.facts])
        if not found:
            unknown = unknown_issuer(asked.facts, material.authorities())
            return _Verdict(claimed, [unknown, *late], [asked.facts])
        domains = {each.certificate.public_bytes(Encoding.DER): each.domain for each in held}
        verdicts = [
            await self._judged(each, asked, material, domains.get(each.certificates[-1], Domain.GIVEN))
            for each in found
        ]
        return min(verdicts, key=lambda each: _RANK[each.result])

    async def _judged(
        self, candidate: Candidate, asked: _Asked, material: Material, domain: Domain
    ) -> _Verdict:
        path = [facts_of(der) for der in candidate.certificates]
        mode = asked.policy.revocation
        findings = [
            *domain_findings(domain, asked.policy.accept),
            *candidate.findings,
            *use_findings(asked.facts, asked.policy.use),
        ]
        if mode is RevocationMode.NONE:
            return _Verdict(domain, [*findings, _not_asked()], path)
        if any(each.code not in _OF_TIME for each in candidate.findings):
            return _Verdict(domain, findings, path)
        answers, doubts = await self._answers(candidate, asked, material)
        findings.extend(doubts)
        past = asked.at is not None and not asked.crls
        for index, answer in enumerate(answers):
            place = Place(index, path[index].subject)
            findings.extend(revocation_findings(answer, place, asked.moment, mode, past=past))
        return _Verdict(domain, findings, path, answers)

    async def _answers(
        self, candidate: Candidate, asked: _Asked, material: Material
    ) -> tuple[Sequence[RevocationAnswer], list[Finding]]:
        """Return what is known of revocation for each certificate below the anchor, the one asked about first,
        and which lists could not be used.
        """
        if asked.crls:
            given = givenlists.answers
            return await asyncio.to_thread(
                given, candidate.path, material, asked.rules, asked.moment, asked.crls
            ), []
        answers: list[RevocationAnswer] = []
        doubts: list[Finding] = []
        for index, der in enumerate(candidate.certificates[:-1]):
            answer = await self._answer(der, asked)
            if not await self._signer_holds(answer, candidate.certificates, asked):
                doubts.append(unfit_signer(Place(index, facts_of(der).subject)))
                answer = _nothing_known()
            answers.append(answer)
        return answers, doubts

    async def _answer(self, der: bytes, asked: _Asked) -> RevocationAnswer:
        certificate = loaded_certificate(der)
        if certificate is None:
            return _nothing_known()
        return await self.revocation.status_of(certificate, asked.at, asked.freshness)

    async def _signer_holds(
        self, answer: RevocationAnswer, certificates: Sequence[bytes], asked: _Asked
    ) -> bool:
        """Tell whether who signed the list that answers is on the path, or has a path to the same anchor and is
        not revoked (RFC 5280 §6.3.3 f).
        """
        signer = self.revocation.signer(answer.source) if answer.source is not None else None
        if signer is None or _has_key(signer, certificates):
            return True
        der = signer.public_bytes(Encoding.DER)
        held = await asyncio.to_thread(self.trust.held)
        material = await asyncio.to_thread(_material, asked, held, der, certificates[-1])
        rules = PathRules(legacy_algorithms=asked.policy.legacy_algorithms)
        found = await asyncio.to_thread(candidates, material, rules, asked.moment)
        for candidate in (each for each in found if not each.findings):
            if all([await self._stands(each, candidate, asked) for each in candidate.certificates[:-1]]):
                return True
        return False

    async def _stands(self, der: bytes, candidate: Candidate, asked: _Asked) -> bool:
        """Tell whether a certificate on the path of a list's signer is good by a list signed on that path."""
        answer = await self._answer(der, asked)
        signer = self.revocation.signer(answer.source) if answer.source is not None else None
        on_path = signer is None or _has_key(signer, candidate.certificates)
        return answer.status is Status.GOOD and on_path


def _read(request: ValidationRequest, now: datetime, freshness: FreshnessPolicy) -> _Asked:
    """Read what the request carries; every part that is unreadable is named."""
    problems: list[FieldProblem] = []
    chain = _certificates(problems, "certificate", request.certificate)
    others = [
        der
        for index, text in enumerate(request.intermediates)
        for der in _certificates(problems, f"intermediates.{index}", text)
    ]
    anchors = [
        der
        for index, text in enumerate(request.policy.anchors)
        for der in _certificates(problems, f"policy.anchors.{index}", text)
    ]
    crls = [der for index, text in enumerate(request.crls) for der in _lists(problems, f"crls.{index}", text)]
    if problems:
        raise InvalidFieldsError(problems)
    return _Asked(
        facts=facts_of(chain[0]),
        der=chain[0],
        intermediates=(*chain[1:], *others),
        anchors=tuple(anchors),
        crls=tuple(crls),
        at=request.at,
        moment=request.at or now,
        policy=request.policy,
        freshness=freshness,
    )


def _certificates(problems: list[FieldProblem], where: str, text: str) -> list[bytes]:
    try:
        return certificates_in(text.encode())
    except ValueError:
        words = Text(
            "holds no readable certificate: give PEM, or DER in base64",
            "ne contient pas de certificat lisible : donnez du PEM, ou du DER en base64",
        )
        problems.append(FieldProblem(where, words))
        return []


def _lists(problems: list[FieldProblem], where: str, text: str) -> list[bytes]:
    try:
        return [list_in(text.encode())]
    except ValueError:
        words = Text(
            "is no readable revocation list: give PEM, or DER in base64",
            "n’est pas une liste de révocation lisible : donnez du PEM, ou du DER en base64",
        )
        problems.append(FieldProblem(where, words))
        return []


def _material(
    asked: _Asked,
    held: Sequence[HeldAuthority],
    certificate: bytes | None = None,
    anchor: bytes | None = None,
) -> Material:
    """Return what paths of a certificate are built from, the one asked about unless another is named; with
    `anchor`, to that one only.
    """
    anchors = [each.certificate.public_bytes(Encoding.DER) for each in held if each.is_root]
    between = [each.certificate.public_bytes(Encoding.DER) for each in held if not each.is_root]
    return Material(
        certificate or asked.der,
        intermediates=[*asked.intermediates, *between],
        anchors=[*asked.anchors, *anchors] if anchor is None else [anchor],
    )


def _has_key(signer: x509.Certificate, certificates: Sequence[bytes]) -> bool:
    """Tell whether a key is that of one of the certificates, DER."""
    return any(
        each is not None and spki_sha256(each) == spki_sha256(signer)
        for each in map(loaded_certificate, certificates)
    )


def _nothing_known() -> RevocationAnswer:
    return RevocationAnswer(status=Status.UNKNOWN, freshness=Freshness.UNAVAILABLE)


def _unreadable(error: Exception) -> Finding:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    return about(
        FindingCode.CERTIFICATE_UNREADABLE,
        None,
        f"a certificate that was given is malformed: {reason}",
        f"un certificat fourni est mal formé : {reason}",
    )


def _not_asked() -> Finding:
    return about(
        FindingCode.STATUS_NOT_ASKED,
        None,
        "whether it is revoked was not asked.",
        "la révocation n’a pas été demandée.",
        severity=Severity.INFO,
    )


def _view(asked: _Asked, concluded: _Verdict, language: Language) -> ValidationView:
    ordered = sorted(concluded.findings, key=lambda each: list(Severity).index(each.severity))
    return ValidationView(
        result=concluded.result,
        at=asked.moment,
        domain=concluded.domain,
        path=tuple(_element(concluded, index) for index in range(len(concluded.path))),
        findings=tuple(_finding_view(each, language) for each in ordered),
    )


def _finding_view(finding: Finding, language: Language) -> FindingView:
    return FindingView(
        code=finding.code,
        severity=finding.severity,
        detail=finding.detail.in_language(language),
        advice=finding.advice.in_language(language) if finding.advice is not None else "",
        certificate=finding.certificate,
        text=finding.detail,
    )


def _element(concluded: _Verdict, index: int) -> PathElement:
    facts, last = concluded.path[index], len(concluded.path) - 1
    is_anchor = index == last and last > 0
    return PathElement(
        role="anchor" if is_anchor else "certificate" if index == 0 else "intermediate",
        subject=facts.subject,
        issuer=facts.issuer,
        serial=_hexadecimal(facts.serial),
        not_before=facts.not_before,
        not_after=facts.not_after,
        fingerprint_sha256=facts.fingerprint_sha256,
        revocation=concluded.answers[index] if index < len(concluded.answers) else None,
    )


def _hexadecimal(serial: int) -> str:
    digits = f"{abs(serial):x}"
    return ("-" if serial < 0 else "") + digits.zfill(len(digits) + len(digits) % 2)
