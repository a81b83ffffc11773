"""Whether a list may replace the one held: signature, issuer, number, times, extensions (RFC 5280 §5, §6.3.3).

Pure: a list, who must have signed it, what is held, and the time, give facts or a refusal that names its rule.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from cardd.revocation.errors import ListRefusedError
from cardd.revocation.lists import KNOWN_EXTENSIONS, ListFacts, ParsedList
from cardd.revocation.names import comparable

#: A publisher's clock may be so far ahead of ours.
CLOCK_SKEW = timedelta(minutes=5)

_BROKEN_HASHES = (hashes.MD5, hashes.SHA1)


class Held(NamedTuple):
    """What is held of a source now."""

    full: ListFacts | None = None
    delta: ListFacts | None = None


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether a CA's name and key issued a certificate; a name in common is not enough."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, x509.InvalidVersion, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def check_signature(parsed: ParsedList, signer: x509.Certificate) -> None:
    """Check that `signer`'s key signed the list and that its certificate allows that.

    Raises `ListRefusedError`: `issuer`, `key_identifier`, `key_usage`, `algorithm` or `signature`.
    """
    head = parsed.head
    if comparable(head.issuer) != comparable(signer.subject):
        raise ListRefusedError.of(
            "issuer",
            f"The list is of {head.issuer.rfc4514_string()[:200]}, not of the CA it is kept for.",
            f"La liste est celle de {head.issuer.rfc4514_string()[:200]}, non de l’AC pour laquelle elle est suivie.",
        )
    _check_key_identifier(head, signer)
    _check_key_usage(signer)
    _check_bytes(parsed, signer)


def check_extensions(parsed: ParsedList) -> None:
    """Raise `ListRefusedError` `critical_extension` for a critical extension that is not known here."""
    for extension in parsed.head.extensions:
        if extension.critical and extension.oid not in KNOWN_EXTENSIONS:
            raise ListRefusedError.of(
                "critical_extension",
                f"The list has the critical extension {extension.oid.dotted_string}, which is not known here.",
                f"La liste porte l’extension critique {extension.oid.dotted_string}, inconnue ici.",
            )


def check_succession(facts: ListFacts, held: Held, now: datetime, *, delta: bool) -> None:
    """Check that the list is of the kind that was asked for, of now, and no step back.

    Raises `ListRefusedError`: `delta_as_complete`, `complete_as_delta`, `scope`, `future`, `times`, `expired`,
    `rollback`, or one of a delta's rules.
    """
    _check_kind(facts, delta=delta)
    _check_times(facts, now)
    if delta:
        _check_delta(facts, held, now)
        return
    full = held.full
    if full is None:
        return
    if _is_older(facts, full):
        raise ListRefusedError.of(
            "rollback",
            f"The list (number {facts.number}, of {facts.this_update:%Y-%m-%d %H:%M:%S}) is older than the one "
            f"held (number {full.number}, of {full.this_update:%Y-%m-%d %H:%M:%S}).",
            f"La liste (numéro {facts.number}, du {facts.this_update:%d/%m/%Y %H:%M:%S}) est plus ancienne que la "
            f"liste détenue (numéro {full.number}, du {full.this_update:%d/%m/%Y %H:%M:%S}).",
        )
    if _over(facts, now) and not _over(full, now):
        raise ListRefusedError.of(
            "expired",
            "The list's nextUpdate is past, and the one held is still in force.",
            "Le nextUpdate de la liste est passé, et la liste détenue est encore en vigueur.",
        )


def delta_fits(delta: ListFacts, full: ListFacts) -> bool:
    """Tell whether a delta may be combined with a complete list (RFC 5280 §5.2.4)."""
    return (
        delta.base_number is not None
        and full.number is not None
        and delta.number is not None
        and delta.base_number <= full.number < delta.number
        and delta.scope.encoded == full.scope.encoded
    )


def _check_key_identifier(head: x509.CertificateRevocationList, signer: x509.Certificate) -> None:
    try:
        aki = head.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        ski = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return
    if aki.key_identifier is not None and aki.key_identifier != ski.digest:
        raise ListRefusedError.of(
            "key_identifier",
            "The list names another key of its issuer (authorityKeyIdentifier).",
            "La liste nomme une autre clé de son émetteur (authorityKeyIdentifier).",
        )


def _check_key_usage(signer: x509.Certificate) -> None:
    try:
        usage = signer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.crl_sign:
        raise ListRefusedError.of(
            "key_usage",
            "The issuer's certificate does not allow its key to sign lists (cRLSign).",
            "Le certificat de l’émetteur ne permet pas à sa clé de signer des listes (cRLSign).",
        )


def _check_bytes(parsed: ParsedList, signer: x509.Certificate) -> None:
    head, key = parsed.head, signer.public_key()
    try:
        digest, parameters = head.signature_hash_algorithm, head.signature_algorithm_parameters
        if isinstance(digest, _BROKEN_HASHES):
            raise ListRefusedError.of(
                "algorithm",
                f"The list is signed with {digest.name}, which is broken.",
                f"La liste est signée avec {digest.name}, qui est cassé.",
            )
        match key:
            case rsa.RSAPublicKey() if isinstance(parameters, padding.PKCS1v15 | padding.PSS) and digest:
                key.verify(head.signature, _digest(parsed, digest), parameters, Prehashed(digest))
            case ec.EllipticCurvePublicKey() if isinstance(parameters, ec.ECDSA) and digest:
                key.verify(head.signature, _digest(parsed, digest), ec.ECDSA(Prehashed(digest)))
            case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey() if parameters is None:
                key.verify(head.signature, bytes(parsed.tbs))
            case _:
                raise _bad_signature()
    except UnsupportedAlgorithm:
        oid = head.signature_algorithm_oid.dotted_string
        raise ListRefusedError.of(
            "algorithm",
            f"The list is signed with an algorithm that is not known here ({oid}).",
            f"La liste est signée avec un algorithme inconnu ici ({oid}).",
        ) from None
    except (InvalidSignature, ValueError):
        raise _bad_signature() from None


def _digest(parsed: ParsedList, algorithm: hashes.HashAlgorithm) -> bytes:
    """Hash what is signed where it lies: a large list is mapped, not read."""
    digest = hashes.Hash(algorithm)
    digest.update(parsed.tbs)
    return digest.finalize()


def _bad_signature() -> ListRefusedError:
    return ListRefusedError.of(
        "signature",
        "The signature is not that of the issuer's key.",
        "La signature n’est pas celle de la clé de l’émetteur.",
    )


def _check_kind(facts: ListFacts, *, delta: bool) -> None:
    if facts.base_number is not None and not delta:
        raise ListRefusedError.of(
            "delta_as_complete",
            "A delta list came where the complete one is due.",
            "Une liste delta est arrivée à la place de la liste complète.",
        )
    if facts.base_number is None and delta:
        raise ListRefusedError.of(
            "complete_as_delta",
            "A complete list came where a delta is due.",
            "Une liste complète est arrivée à la place d’un delta.",
        )
    if not (facts.scope.users or facts.scope.authorities or facts.scope.attributes_only):
        raise ListRefusedError.of(
            "scope",
            "The list says that it speaks of nothing (issuingDistributionPoint).",
            "La liste dit ne porter sur rien (issuingDistributionPoint).",
        )


def _check_times(facts: ListFacts, now: datetime) -> None:
    if facts.this_update > now + CLOCK_SKEW:
        raise ListRefusedError.of(
            "future",
            f"The list is of the future ({facts.this_update:%Y-%m-%d %H:%M:%S} UTC).",
            f"La liste est datée du futur ({facts.this_update:%d/%m/%Y %H:%M:%S} UTC).",
        )
    if facts.next_update is not None and facts.next_update <= facts.this_update:
        raise ListRefusedError.of(
            "times",
            "The list's nextUpdate is not after its thisUpdate.",
            "Le nextUpdate de la liste n’est pas postérieur à son thisUpdate.",
        )


def _check_delta(facts: ListFacts, held: Held, now: datetime) -> None:
    full = held.full
    if full is None or facts.base_number is None:
        raise ListRefusedError.of(
            "no_base",
            "No complete list is held for the delta.",
            "Aucune liste complète n’est détenue pour le delta.",
        )
    if _over(facts, now):
        raise ListRefusedError.of(
            "expired", "The delta's nextUpdate is past.", "Le nextUpdate du delta est passé."
        )
    if facts.scope.encoded != full.scope.encoded:
        raise ListRefusedError.of(
            "delta_scope",
            "The delta's scope is not that of the complete list (issuingDistributionPoint).",
            "La portée du delta n’est pas celle de la liste complète (issuingDistributionPoint).",
        )
    if full.number is None or facts.base_number > full.number:
        raise ListRefusedError.of(
            "delta_base",
            f"The delta needs a complete list numbered {facts.base_number} or more; {full.number} is held.",
            f"Le delta demande une liste complète de numéro {facts.base_number} au moins ; {full.number} est détenu.",
        )
    if (
        facts.number is None
        or facts.number < full.number
        or (held.delta is not None and _is_older(facts, held.delta))
    ):
        raise ListRefusedError.of(
            "rollback",
            f"The delta (number {facts.number}) is older than what is held.",
            f"Le delta (numéro {facts.number}) est plus ancien que ce qui est détenu.",
        )


def _is_older(facts: ListFacts, held: ListFacts) -> bool:
    if facts.number is not None and held.number is not None and facts.number != held.number:
        return facts.number < held.number
    if facts.number is None and held.number is not None:
        return True
    return facts.this_update < held.this_update


def _over(facts: ListFacts, now: datetime) -> bool:
    return facts.next_update is not None and now >= facts.next_update
