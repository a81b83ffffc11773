"""From what is known to findings, and from findings to the verdict; pure."""

from collections.abc import Collection, Sequence
from datetime import datetime

from cardd.revocation.domains import DOMAIN_NAMES, Domain
from cardd.revocation.facts import CertificateFacts
from cardd.revocation.findings import Finding, FindingCode, Place, Severity, about
from cardd.revocation.reasonwords import REASON_WORDS
from cardd.revocation.recognition import IGC_CPS_END
from cardd.revocation.types import Decision, Freshness, Reason, RevocationAnswer, Status
from cardd.revocation.verdicts import CertificateUse, Result, RevocationMode
from cardd.text import Text

_REVOKED_OR_LATE = frozenset({FindingCode.REVOKED, FindingCode.EXPIRED, FindingCode.NOT_YET_VALID})
_ITSELF = Place(0, "")

_DOMAIN_CODES = {
    Domain.LOCAL: FindingCode.LOCAL_TEST,
    Domain.IGC_SANTE_TEST: FindingCode.IGC_SANTE_TEST,
    Domain.IGC_SANTE: FindingCode.IGC_SANTE,
}

#: The keyUsage bit that a use needs, and the purpose that is due where extKeyUsage is there.
_USES = {
    CertificateUse.CLIENT: ("digital_signature", "client_auth"),
    CertificateUse.SERVER: ("digital_signature", "server_auth"),
    CertificateUse.SIGNATURE: ("non_repudiation", "email_protection"),
    CertificateUse.ENCRYPTION: ("key_encipherment", "email_protection"),
}
_USE_NAMES = {
    CertificateUse.CLIENT: Text("TLS client authentication", "l’authentification d’un client TLS"),
    CertificateUse.SERVER: Text("a TLS server", "un serveur TLS"),
    CertificateUse.SIGNATURE: Text("signature", "la signature"),
    CertificateUse.ENCRYPTION: Text("encryption", "le chiffrement"),
}


def verdict(findings: Sequence[Finding]) -> Result:
    """Return what follows from the findings.

    `revoked` stands where the path itself holds; that a revoked certificate has expired as well does not hide it.
    """
    errors = {each.code for each in findings if each.severity is Severity.ERROR}
    if errors - _REVOKED_OR_LATE:
        return Result.INVALID
    if FindingCode.REVOKED in errors:
        return Result.REVOKED
    if errors:
        return Result.INVALID
    if any(each.severity is Severity.GAP for each in findings):
        return Result.INDETERMINATE
    return Result.VALID


def retired_finding(moment: datetime) -> Finding:
    """Tell that the certificate is of IGC-CPS; before its end nothing can be verified, after it nothing counts."""
    return about(
        FindingCode.IGC_CPS_RETIRED,
        _ITSELF,
        "{it} is of IGC-CPS, which has been inactive since January 2021 and was replaced by IGC-Santé.",
        "{it} relève de l’IGC-CPS, inactive depuis janvier 2021 et remplacée par l’IGC-Santé.",
        severity=Severity.ERROR if moment >= IGC_CPS_END else Severity.GAP,
        advice=Text(
            "Ask its holder for a certificate of IGC-Santé.",
            "Demandez à son porteur un certificat de l’IGC-Santé.",
        ),
    )


def unknown_issuer(certificate: CertificateFacts, others: Sequence[CertificateFacts]) -> Finding:
    """Tell why nobody held is the issuer of the certificate; `others` are the CA certificates at hand."""
    if certificate.self_issued:
        return about(
            FindingCode.NOT_TRUSTED,
            _ITSELF,
            "{it} certifies itself and is not among the roots held.",
            "{it} se certifie lui-même et ne fait pas partie des racines détenues.",
            severity=Severity.GAP,
        )
    key = certificate.issuer_key
    same_key = [each for each in others if key is not None and each.subject_key == key]
    if same_key and all(each.subject != certificate.issuer for each in same_key):
        return about(
            FindingCode.NAME_MISMATCH,
            _ITSELF,
            f"{{it}} names “{certificate.issuer}” as its issuer; the CA with that key is “{same_key[0].subject}”.",
            f"{{it}} nomme « {certificate.issuer} » comme émetteur ; l’AC qui a cette clé est "
            f"« {same_key[0].subject} ».",
        )
    return _no_path(
        certificate, [each for each in others if each.subject == certificate.issuer and not same_key]
    )


def _no_path(certificate: CertificateFacts, namesakes: Sequence[CertificateFacts]) -> Finding:
    domain = certificate.issuer_domain
    claim = DOMAIN_NAMES[domain] if domain is not None else None
    claimed_en = f", an authority of {claim.en} by its name" if claim else ""
    claimed_fr = f", autorité de {claim.fr} d’après son nom" if claim else ""
    other_en = " The CA held under that name has another key." if namesakes else ""
    other_fr = " L’AC détenue sous ce nom a une autre clé." if namesakes else ""
    return about(
        FindingCode.ISSUER_UNKNOWN,
        _ITSELF,
        f"no path from {{it}} to a root held was found; its issuer is “{certificate.issuer}”{claimed_en}.{other_en}",
        f"aucune chaîne ne relie {{it}} à une racine détenue ; son émetteur est « {certificate.issuer} »"
        f"{claimed_fr}.{other_fr}",
        severity=Severity.GAP,
        advice=Text(
            f"Put the authority's certificates into trust/{domain} of the state directory.",
            f"Déposez les certificats de l’autorité dans trust/{domain} du répertoire d’état.",
        )
        if domain is not None
        else Text(
            "Send the missing CA certificates as `intermediates`.",
            "Joignez les certificats d’AC manquants dans « intermediates ».",
        ),
    )


def out_of_time(certificate: CertificateFacts, moment: datetime) -> list[Finding]:
    """Tell that a certificate without a path is expired or not valid yet."""
    ends, begins = certificate.not_after, certificate.not_before
    if moment > ends:
        return [
            about(
                FindingCode.EXPIRED,
                _ITSELF,
                f"{{it}} expired on {ends:%Y-%m-%d %H:%M:%S} UTC.",
                f"{{it}} a expiré le {ends:%d/%m/%Y %H:%M:%S} UTC.",
            )
        ]
    if moment < begins:
        return [
            about(
                FindingCode.NOT_YET_VALID,
                _ITSELF,
                f"{{it}} is valid from {begins:%Y-%m-%d %H:%M:%S} UTC only.",
                f"{{it}} n’est valide qu’à partir du {begins:%d/%m/%Y %H:%M:%S} UTC.",
            )
        ]
    return []


def domain_findings(domain: Domain, accepted: Collection[str]) -> list[Finding]:
    """Tell which PKI the certificate is of, and whether the application accepts it."""
    if domain is Domain.GIVEN:
        return []
    name = DOMAIN_NAMES[domain]
    told = about(
        _DOMAIN_CODES[domain],
        None,
        f"it was issued by {name.en}.",
        f"émis par {name.fr}.",
        severity=Severity.INFO,
    )
    if domain in accepted:
        return [told]
    refused = about(
        FindingCode.DOMAIN_NOT_ACCEPTED,
        _ITSELF,
        f"{{it}} is of {name.en}, which this request does not accept.",
        f"{{it}} relève de {name.fr}, que cette demande n’accepte pas.",
        advice=Text(f"Name {domain} in policy.accept.", f"Nommez {domain} dans policy.accept."),
    )
    return [told, refused]


def use_findings(certificate: CertificateFacts, use: CertificateUse | None) -> list[Finding]:
    """Tell whether the certificate may be used for what it is meant to be used (RFC 5280 §4.2.1.3, §4.2.1.12)."""
    if use is None or _allows(certificate, use):
        return []
    name = _USE_NAMES[use]
    return [
        about(
            FindingCode.USAGE_NOT_ALLOWED,
            _ITSELF,
            f"{{it}} is not for {name.en}.",
            f"{{it}} n’est pas prévu pour {name.fr}.",
            advice=Text(
                "Take the other certificate of the card or of the structure.",
                "Prenez l’autre certificat de la carte ou de la structure.",
            ),
        )
    ]


def revocation_findings(
    answer: RevocationAnswer, place: Place, moment: datetime, mode: RevocationMode, *, past: bool
) -> list[Finding]:
    """Tell what is wrong with the revocation status of one certificate of the path."""
    if answer.status is Status.REVOKED:
        return [_revoked(answer, place, moment)]
    gap = Severity.GAP if mode is RevocationMode.REQUIRED else Severity.WARNING
    if answer.status is Status.UNKNOWN:
        return [_unknown(answer, place, gap, past=past)]
    refused = answer.decision is Decision.REFUSE
    if answer.freshness is Freshness.STALE:
        return [_stale(place, gap if refused else Severity.WARNING)]
    if answer.freshness is Freshness.EXPIRED:
        return [_expired_list(answer, place, gap if refused else Severity.WARNING)]
    return []


def unfit_signer(place: Place) -> Finding:
    """Tell that the list for a certificate is signed by somebody who is not, or no longer, entitled to."""
    return about(
        FindingCode.LIST_SIGNER_UNFIT,
        place,
        "the list that speaks of {it} is signed with a key whose certificate has no valid path to the same root, or "
        "is revoked.",
        "la liste portant sur {it} est signée par une clé dont le certificat n’a pas de chaîne valide vers la même "
        "racine, ou est révoqué.",
        severity=Severity.WARNING,
        advice=Text(
            "Ask whoever publishes the list for one signed with a valid certificate.",
            "Demandez à qui publie la liste de la faire signer avec un certificat valide.",
        ),
    )


def _revoked(answer: RevocationAnswer, place: Place, moment: datetime) -> Finding:
    since, reason = answer.revoked_at, REASON_WORDS[answer.reason or Reason.UNSPECIFIED]
    when_en = f" on {since:%Y-%m-%d %H:%M:%S} UTC" if since is not None else ""
    when_fr = f" le {since:%d/%m/%Y %H:%M:%S} UTC" if since is not None else ""
    if since is not None and since > moment:
        return about(
            FindingCode.REVOKED_LATER,
            place,
            f"{{it}} was not revoked at that time; it was revoked later{when_en} ({reason.en}).",
            f"{{it}} n’était pas révoqué à ce moment ; il l’a été plus tard,{when_fr} ({reason.fr}).",
            severity=Severity.WARNING,
        )
    return about(
        FindingCode.REVOKED,
        place,
        f"{{it}} was revoked{when_en} ({reason.en}).",
        f"{{it}} a été révoqué{when_fr} ({reason.fr}).",
        advice=Text("Do not accept it.", "Ne l’acceptez pas."),
    )


def _unknown(answer: RevocationAnswer, place: Place, severity: Severity, *, past: bool) -> Finding:
    if answer.freshness is Freshness.EXPIRED:
        return _expired_list(answer, place, severity)
    if answer.freshness is not Freshness.UNAVAILABLE:
        return about(
            FindingCode.LIST_INSUFFICIENT,
            place,
            "the lists held do not cover {it}, or not every reason for revocation.",
            "les listes détenues ne couvrent pas {it}, ou pas tous les motifs de révocation.",
            severity=severity,
        )
    if past:
        return about(
            FindingCode.ARCHIVE_MISSING,
            place,
            "no list of that time is kept that speaks of {it}.",
            "aucune liste de cette époque, portant sur {it}, n’est conservée.",
            severity=severity,
            advice=Text(
                "Send the lists of that time as `crls`.", "Joignez les listes d’époque dans « crls »."
            ),
        )
    return about(
        FindingCode.STATUS_UNAVAILABLE,
        place,
        "whether {it} is revoked is not known: no list of its issuer that could be verified is at hand.",
        "on ignore si {it} est révoqué : aucune liste vérifiable de son émetteur n’est disponible.",
        severity=severity,
        advice=Text(
            "See with `cardd crl list` whether the list is kept and why it is not there; add it with `cardd crl add`.",
            "Voyez avec « cardd crl list » si la liste est suivie et pourquoi elle manque ; ajoutez-la avec "
            "« cardd crl add ».",
        ),
    )


def _stale(place: Place, severity: Severity) -> Finding:
    return about(
        FindingCode.LIST_STALE,
        place,
        "the list that clears {it} is still in force, but its renewal is overdue.",
        "la liste qui couvre {it} est encore valable, mais son renouvellement est en retard.",
        severity=severity,
    )


def _expired_list(answer: RevocationAnswer, place: Place, severity: Severity) -> Finding:
    ended = answer.next_update
    since_en = f" on {ended:%Y-%m-%d %H:%M:%S} UTC" if ended is not None else ""
    since_fr = f" le {ended:%d/%m/%Y %H:%M:%S} UTC" if ended is not None else ""
    return about(
        FindingCode.LIST_EXPIRED,
        place,
        f"the list that speaks of {{it}} expired{since_en}; a revocation since then would not be seen.",
        f"la liste portant sur {{it}} a expiré{since_fr} ; une révocation ultérieure passerait inaperçue.",
        severity=severity,
        advice=Text("Ask for it with `cardd crl refresh`.", "Redemandez-la avec « cardd crl refresh »."),
    )


def _allows(certificate: CertificateFacts, use: CertificateUse) -> bool:
    bit, purpose = _USES[use]
    if certificate.key_usage is not None and bit not in certificate.key_usage:
        return False
    purposes = certificate.extended_key_usage
    return purposes is None or bool({purpose, "any_extended_key_usage"} & purposes)
