"""A CA as the room's functions see it, and what it may sign."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.igc.errors import AuthorityEndingError, SigningError
from cardd.igc.names import CaName
from cardd.igc.signer import Signer
from cardd.text import Text


@dataclass(frozen=True)
class Authority:
    """A CA: its name, its present certificate, and the signer that holds its key."""

    name: CaName
    certificate: x509.Certificate
    signer: Signer

    def __post_init__(self) -> None:
        """Refuse a signer that does not hold the key of the certificate."""
        certified = self.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        held = self.signer.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if certified != held:
            raise SigningError(
                Text(
                    f"The key given for {self.name} is not that of its certificate.",
                    f"La clé donnée pour {self.name} n’est pas celle de son certificat.",
                ),
                authority=self.name.value,
            )

    @property
    def key_identifier(self) -> x509.SubjectKeyIdentifier:
        """The subjectKeyIdentifier of the certificate."""
        return self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value

    def check_outlives(self, not_after: datetime) -> None:
        """Raise `AuthorityEndingError` when a certificate ending at `not_after` would outlive this CA."""
        end = self.certificate.not_valid_after_utc
        if not_after > end:
            raise AuthorityEndingError(
                Text(
                    f"{self.name} ends on {end:%Y-%m-%d}, before what it would sign ({not_after:%Y-%m-%d}).",
                    f"{self.name} expire le {end:%d/%m/%Y}, avant ce qu’elle signerait ({not_after:%d/%m/%Y}).",
                ),
                authority=self.name.value,
                not_after=end,
            )
