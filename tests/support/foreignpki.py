"""A PKI made by certomancer, foreign to all that is written here: lists with distribution points, split by reasons,
signed by another for a CA (indirect), under keys on P-256, P-384 and Ed25519.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from certomancer.registry import (
    ArchLabel,
    CertLabel,
    CertomancerConfig,
    KeyLabel,
    PKIArchitecture,
    ServiceLabel,
)
from certomancer.services import CRLBuilder, choose_signed_digest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

#: A moment within everything's validity; what is revoked was revoked a day to two before.
MOMENT = datetime.fromisoformat("2026-03-02T09:30:00+00:00")
_KEYS = {
    "root": ec.SECP384R1(),
    "direct": ec.SECP256R1(),
    "other": ec.SECP256R1(),
    "signer": None,
    "leaf": ec.SECP256R1(),
}
_CA = ["key_cert_sign", "crl_sign"]


@dataclass
class ForeignPki:
    """The PKI, with the lists that it publishes under an address."""

    architecture: PKIArchitecture

    def certificate(self, label: str) -> x509.Certificate:
        """Return a certificate."""
        return x509.load_der_x509_certificate(self.architecture.get_cert(CertLabel(label)).dump())

    def pem(self, label: str) -> str:
        """Return a certificate as PEM."""
        return self.certificate(label).public_bytes(Encoding.PEM).decode()

    def crl(self, label: str, at: datetime = MOMENT) -> bytes:
        """Return a list as of a moment, DER."""
        der: bytes = self.architecture.service_registry.get_crl(ServiceLabel(label), at_time=at).dump()
        return der

    def whole_crl(self, at: datetime = MOMENT) -> bytes:
        """Return what the CA `direct` has revoked as of a moment, for a week, without a distribution point; DER."""
        issuer = self.architecture.get_cert(CertLabel("direct"))
        key = self.architecture.key_set.get_asym_key(KeyLabel("direct"))
        info = self.architecture.service_registry.get_crl_repo_info(ServiceLabel("whole"))
        builder = CRLBuilder(
            issuer_name=issuer.subject,
            issuer_key=key.private,
            signature_algo=choose_signed_digest("sha256", key.public),
            authority_key_identifier=issuer.key_identifier_value,
        )
        revoked = self.architecture.get_revoked_certs_at_time(at, info)
        der: bytes = builder.build_crl(1, at, at + timedelta(days=7), revoked).dump()
        return der

    def url(self, label: str) -> str:
        """Return where a list is published."""
        info = self.architecture.service_registry.get_crl_repo_info(ServiceLabel(label))
        return str(info.latest_external_url)


def foreign_pki(directory: Path, address: str) -> ForeignPki:
    """Make the keys and the PKI, whose lists are to be published under `address`."""
    for name, curve in _KEYS.items():
        key = ed25519.Ed25519PrivateKey.generate() if curve is None else ec.generate_private_key(curve)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / f"{name}.pem").write_bytes(pem)
    config = CertomancerConfig(_configuration(), str(directory), external_url_prefix=address)
    return ForeignPki(config.get_pki_arch(ArchLabel("foreign")))


def _configuration() -> dict[str, Any]:
    certificates = {
        "root": _certificate("root", "root", authority=True),
        "direct": _certificate("direct", "root", authority=True, lists=["roots"]),
        "other": _certificate("other", "root", authority=True, lists=["roots"]),
        "signer": _certificate("signer", "root", usage=["crl_sign"], lists=["roots"]),
        "good": _certificate("leaf", "direct", serial=1001, lists=["directs"]),
        "revoked": _certificate("leaf", "direct", serial=1002, lists=["directs"], revoked="superseded"),
        "split-good": _certificate("leaf", "direct", serial=1003, lists=["by-key", "by-rest"]),
        "split-revoked": _certificate(
            "leaf", "direct", serial=1004, lists=["by-key", "by-rest"], revoked="key_compromise"
        ),
        "half-covered": _certificate("leaf", "direct", serial=1005, lists=["by-key"]),
        "indirect-good": _certificate("leaf", "other", serial=1002, lists=["indirect"]),
        "indirect-revoked": _certificate(
            "leaf", "other", serial=1001, lists=["indirect"], revoked="affiliation_changed"
        ),
    }
    rest = [
        "ca_compromise", "affiliation_changed", "superseded", "cessation_of_operation", "certificate_hold",
        "privilege_withdrawn", "aa_compromise",
    ]  # fmt: skip
    return {
        "keysets": {"foreign": {"keys": {name: {"path": f"{name}.pem"} for name in _KEYS}}},
        "pki-architectures": {
            "foreign": {
                "keyset": "foreign",
                "entities": {name: {"country-name": "BE", "common-name": name} for name in _KEYS},
                "certs": certificates,
                "services": {
                    "crl-repo": {
                        "roots": _list("root"),
                        "whole": _list("direct"),
                        "directs": _list("direct", **{"crl-type": "user-only"}),
                        "by-key": _list("direct", **{"covered-reasons": ["key_compromise"]}),
                        "by-rest": _list("direct", **{"covered-reasons": rest}),
                        "indirect": _list("other", **{"crl-issuer": "signer", "signing-key": "signer"}),
                    }
                },
            }
        },
    }


def _list(issuer: str, **more: Any) -> dict[str, Any]:
    return {
        "for-issuer": issuer,
        "simulated-update-schedule": "P7D",
        "issuer-cert": more.get("crl-issuer", issuer),
        **more,
    }


def _certificate(
    subject: str,
    issuer: str,
    *,
    authority: bool = False,
    usage: list[str] | None = None,
    lists: list[str] | None = None,
    serial: int | None = None,
    revoked: str | None = None,
) -> dict[str, Any]:
    extensions: list[dict[str, Any]] = [
        {
            "id": "key_usage",
            "critical": True,
            "smart-value": {
                "schema": "key-usage",
                "params": usage or (_CA if authority else ["digital_signature"]),
            },
        }
    ]
    if authority:
        extensions.append({"id": "basic_constraints", "critical": True, "value": {"ca": True}})
    if lists:
        extensions.append(
            {
                "id": "crl_distribution_points",
                "smart-value": {"schema": "crl-dist-url", "params": {"crl-repo-names": lists}},
            }
        )
    found: dict[str, Any] = {
        "subject": subject,
        "issuer": issuer,
        "subject-key": subject,
        "authority-key": issuer,
        "issuer-cert": issuer,
        "validity": {"valid-from": "2025-01-01T00:00:00+0000", "valid-to": "2035-01-01T00:00:00+0000"},
        "extensions": extensions,
    }
    if subject == issuer:
        del found["issuer-cert"]
    if serial is not None:
        found["serial"] = serial
    if revoked is not None:
        found["revocation"] = {"revoked-since": "2026-01-15T00:00:00+0000", "reason": revoked}
    return found
