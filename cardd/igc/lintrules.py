"""The rules of the linter: pkilint's for RFC 5280 certificates and lists. Loaded by the linter's process alone.

Findings of severity FATAL or ERROR refuse, but for those that `ALLOWANCES` names and explains. The real
profiles need none: checked on IGC-Santé TEST certificates, they break no rule of that severity (their
empty, non-critical basicConstraints and their policy qualifier are allowed by RFC 5280 §4.2.1.9 and
§4.2.1.4, and are notices at most).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

from pkilint import pkix
from pkilint.document import Document
from pkilint.loader import load_der_certificate, load_der_crl
from pkilint.pkix import certificate, crl, extension, name
from pkilint.validation import ValidationFindingSeverity, ValidationResult, ValidatorContainer

#: Severity, rule, path, message.
RawFinding = tuple[str, str, str, str]


class Allowance(NamedTuple):
    """A finding that does not refuse: its rule, the whole of its message, and why."""

    code: str
    message: re.Pattern[str]
    reason: str


ALLOWANCES = (
    Allowance(
        code="pkix.invalid_uri_syntax",
        message=re.compile(r'Invalid URI syntax: "https?://localhost(:[0-9]{1,5})?(/[A-Za-z0-9._~%/-]*)?"'),
        reason=(
            "The second distribution point of a PKI that publishes on this machine is at `localhost`, a domain name "
            "of its own right (RFC 6761 §6.3); pkilint's URI rule wants a dot in every host name."
        ),
    ),
)


def load() -> None:
    """Build the rules ahead of the first check."""
    _certificate_rules()
    _crl_rules()


def certificate_errors(der: bytes) -> list[RawFinding]:
    """Return what refuses the certificate `der`."""
    return _errors(_certificate_rules(), load_der_certificate, der)


def crl_errors(der: bytes) -> list[RawFinding]:
    """Return what refuses the revocation list `der`."""
    return _errors(_crl_rules(), load_der_crl, der)


@cache
def _certificate_rules() -> ValidatorContainer:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def _crl_rules() -> ValidatorContainer:
    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


def _errors(
    rules: ValidatorContainer, load: Callable[[bytes, str], Document], der: bytes
) -> list[RawFinding]:
    try:
        results: Iterable[ValidationResult] = rules.validate(load(der, "signed").root)
    except ValueError as error:
        return [("FATAL", "undecodable", "", str(error))]
    return list(_refusing(results))


def _refusing(results: Iterable[ValidationResult]) -> Iterator[RawFinding]:
    for result in results:
        for described in result.finding_descriptions:
            severity, code, message = (
                described.finding.severity,
                described.finding.code,
                described.message or "",
            )
            if severity <= ValidationFindingSeverity.ERROR and not _is_allowed(code, message):
                yield severity.name, code, result.node.path, message


def _is_allowed(code: str, message: str) -> bool:
    return any(code == allowance.code and allowance.message.fullmatch(message) for allowance in ALLOWANCES)
