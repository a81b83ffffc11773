"""Certificates of CAs and of OCSP responders: made once, and made again when addresses change."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from cryptography import x509

from cardd.igc.authority import Authority
from cardd.igc.dates import midnight, whole_second, years_after
from cardd.igc.errors import PolicyError
from cardd.igc.extensions import authority_extensions, responder_extensions, with_extensions
from cardd.igc.issuing import key_kind, new_authority_serial, new_serial
from cardd.igc.lint import Linter
from cardd.igc.names import (
    INTERMEDIATES,
    LIST_RESPONDER_COMMON_NAME,
    ROOTS,
    AuthorityDn,
    CaName,
    authority_name,
)
from cardd.igc.policy import PkiPolicy
from cardd.igc.profiles import INTERMEDIATE_PROFILE, ROOT_PROFILE
from cardd.igc.signer import Signer, SigningPublicKey, sign_certificate
from cardd.text import Text

#: A responder's certificate is replaced once less than this share of its validity is left.
_RESPONDER_RENEWAL_SHARE = 1 / 3

#: One that begins further ahead than this was made before the clock was set back.
_CLOCK_SKEW = timedelta(minutes=5)


class HierarchyBuilder:
    """Makes the certificates of the hierarchy under one policy."""

    def __init__(self, policy: PkiPolicy, linter: Linter) -> None:
        self._policy = policy
        self._linter = linter
        self._dn = AuthorityDn(
            country=policy.country,
            organisation=policy.organisation,
            organisational_units=policy.organisational_units,
        )

    async def build(self, signers: Mapping[CaName, Signer], now: datetime) -> dict[CaName, Authority]:
        """Make the three roots and the six intermediates, valid from the midnight before `now` (UTC).

        Raises `PolicyError` when a signer's key is not of the policy's algorithm.
        """
        self._check_algorithm(signers)
        not_before = midnight(now)
        root_end = years_after(not_before, self._policy.root_validity_years)
        authorities: dict[CaName, Authority] = {}
        for name in (*ROOTS, *INTERMEDIATES):
            not_after = root_end if name.is_root else root_end - timedelta(days=1)
            issuer = signers[name.issuer]
            certificate = await self._authority_certificate(
                name, signers[name], issuer, not_before, not_after
            )
            authorities[name] = Authority(name, certificate, signers[name])
        return authorities

    async def reissue(self, authority: Authority, issuer: Authority) -> Authority:
        """Make the certificate of `authority` again: same key, DN and validity, new serial, present URLs.

        A root is its own `issuer`. Certificates already issued stay valid under the new one, since the key
        and the DN are the same; those made for former addresses keep pointing there.
        """
        old = authority.certificate
        certificate = await self._authority_certificate(
            authority.name, authority.signer, issuer.signer, old.not_valid_before_utc, old.not_valid_after_utc
        )
        return Authority(authority.name, certificate, authority.signer)

    async def responder_certificate(
        self, authority: Authority, public_key: SigningPublicKey, now: datetime
    ) -> x509.Certificate:
        """Make the certificate of the OCSP responder that `authority` delegates to (RFC 6960 §4.2.2.2)."""
        not_before = whole_second(now)
        not_after = min(
            not_before + self._policy.ocsp_responder_validity, authority.certificate.not_valid_after_utc
        )
        name = authority.name.responder_common_name
        return await self._responder(authority, name, public_key, not_before, not_after)

    async def list_responder_certificate(
        self, authority: Authority, public_key: SigningPublicKey, now: datetime
    ) -> x509.Certificate:
        """Make the certificate of the responder for lists of others.

        It lasts as long as its CA: who trusts it trusts this one certificate (RFC 6960 §4.2.2.2, a local
        configuration of OCSP signing authority), and would have to be given every later one.
        """
        not_after = authority.certificate.not_valid_after_utc
        return await self._responder(
            authority, LIST_RESPONDER_COMMON_NAME, public_key, whole_second(now), not_after
        )

    async def _responder(
        self,
        authority: Authority,
        common_name: str,
        public_key: SigningPublicKey,
        not_before: datetime,
        not_after: datetime,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .serial_number(new_serial())
            .issuer_name(authority.certificate.subject)
            .subject_name(authority_name(self._dn, common_name))
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .public_key(public_key)
        )
        builder = with_extensions(
            builder, responder_extensions(self._policy, public_key, authority.certificate)
        )
        return await sign_certificate(builder, authority.signer, self._linter.check_certificate)

    async def _authority_certificate(
        self, name: CaName, subject: Signer, issuer: Signer, not_before: datetime, not_after: datetime
    ) -> x509.Certificate:
        profile = ROOT_PROFILE if name.is_root else INTERMEDIATE_PROFILE
        builder = (
            x509.CertificateBuilder()
            .serial_number(new_authority_serial())
            .issuer_name(authority_name(self._dn, name.issuer.common_name))
            .subject_name(authority_name(self._dn, name.common_name))
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .public_key(subject.public_key)
        )
        extensions = authority_extensions(
            profile, self._policy, subject.public_key, issuer.public_key, self._policy.crl_urls(name.issuer)
        )
        return await sign_certificate(
            with_extensions(builder, extensions), issuer, self._linter.check_certificate
        )

    def _check_algorithm(self, signers: Mapping[CaName, Signer]) -> None:
        wanted = self._policy.ca_algorithm.value
        for name, signer in signers.items():
            kind = key_kind(signer.public_key)
            found = "?" if kind is None else kind.value
            if found != wanted:
                raise PolicyError(
                    Text(
                        f"The key of {name} is {found}, not {wanted}.",
                        f"La clé de {name} est {found}, et non {wanted}.",
                    ),
                )


def responder_renewal_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Tell whether less than a third of the validity of a responder's certificate is left, or it is of the future."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now < begins - _CLOCK_SKEW or ends - now < (ends - begins) * _RESPONDER_RENEWAL_SHARE


def publishes_at(authority: Authority, policy: PkiPolicy) -> bool:
    """Tell whether the addresses in a CA's certificate are still those of `policy`, else it is to be reissued."""
    extensions = authority.certificate.extensions
    if extensions.get_extension_for_class(x509.CertificatePolicies).value[0].policy_qualifiers != [
        policy.cps_uri
    ]:
        return False
    if authority.name.is_root:
        return True
    points = extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    urls = tuple(name.value for point in points for name in point.full_name or ())
    return urls == policy.crl_urls(authority.name.issuer)
