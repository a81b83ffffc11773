"""Lists that are prepared and off: those that ANS publishes for IGC-Santé TEST.

Their names and addresses are known; what is needed beside is the CA's certificate, which verifies the list. Two
of the nine are shipped, the others are the operator's to put into `trust/igc_sante_test` of the state directory.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from cardd.errors import ConflictError, NotFoundError
from cardd.revocation.domains import Domain
from cardd.revocation.recognition import KnownAuthority, domain_of_name, known_authorities
from cardd.revocation.sources import Keeper, NewSource
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import CrlId, CrlView, PreparedList
from cardd.text import Language, Text

#: Where ANS publishes the lists of IGC-Santé TEST, decoded from its TEST certificates.
IGC_SANTE_URL = "http://igc-sante.esante.gouv.fr/CRL/{name}.crl"
#: Origin of lists that the setting `revocation.igc_sante` keeps; those switched on while the daemon runs are `added`.
IGC_SANTE_ORIGIN, ENABLED_ORIGIN = "igc-sante", "added"


class AuthorityNotHeldError(ConflictError):
    """The list could not be verified: its CA's certificate is not held."""

    code = "authority_not_held"
    title = Text("The authority's certificate is not held", "Le certificat de l’autorité n’est pas détenu")
    default_advice = Text(
        "Put the CA's certificate, which ANS publishes, into trust/igc_sante_test of the state directory.",
        "Déposez le certificat de l’AC, publié par l’ANS, dans trust/igc_sante_test du répertoire d’état.",
    )


class Prepared(NamedTuple):
    """One prepared list, and what keeps it where its CA's certificate is held."""

    authority: KnownAuthority
    source: NewSource | None

    @property
    def name(self) -> str:
        """The name that it is published under, such as `ACI-EL-ORG-TEST`."""
        return f"{self.authority.code}-TEST"


class PreparedLists:
    """The prepared lists, switched on and off one by one."""

    def __init__(self, trust: TrustStore, cache: Keeper) -> None:
        self._trust = trust
        self._cache = cache

    async def all(self, language: Language = "en") -> list[PreparedList]:
        """Return every prepared list, roots first."""
        kept = {each.id: each for each in self._cache.lists(language)}
        return [
            PreparedList(
                name=each.name,
                authority=each.authority.common_name,
                url=IGC_SANTE_URL.format(name=each.name),
                held=each.source is not None,
                crl=kept.get(_id(each.name)),
            )
            for each in await self._prepared()
        ]

    async def enable(self, name: str) -> CrlView:
        """Keep a prepared list from now on; raises `NotFoundError` or `AuthorityNotHeldError`."""
        found = next((each for each in await self._prepared() if each.name == name), None)
        if found is None:
            raise NotFoundError.of(Text("prepared list", "liste préparée"), name)
        if found.source is None:
            raise AuthorityNotHeldError(
                Text(
                    f"The certificate of “{found.authority.common_name}” is not held.",
                    f"Le certificat de « {found.authority.common_name} » n’est pas détenu.",
                )
            )
        return await self._cache.keep(found.source)

    async def disable(self, name: str) -> None:
        """Forget a prepared list; raises `NotFoundError`, or `SourceFixedError` for one that the settings keep."""
        await self._cache.remove(_id(name))

    async def _prepared(self) -> Sequence[Prepared]:
        held = await asyncio.to_thread(self._trust.held)
        certificates = [each.certificate for each in held if each.domain is Domain.IGC_SANTE_TEST]
        return prepared_sources(certificates, ENABLED_ORIGIN)


def prepared_sources(held: Iterable[x509.Certificate], origin: str) -> list[Prepared]:
    """Return the prepared lists, each with its source where its CA is among those `held`."""
    by_name = {
        str(attribute.value): certificate
        for certificate in held
        if domain_of_name(certificate.subject) is Domain.IGC_SANTE_TEST
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    }
    return [
        _prepared(authority, by_name.get(authority.common_name), origin)
        for authority in known_authorities(Domain.IGC_SANTE_TEST)
    ]


def _prepared(authority: KnownAuthority, signer: x509.Certificate | None, origin: str) -> Prepared:
    found = Prepared(authority, None)
    if signer is None:
        return found
    urls = (IGC_SANTE_URL.format(name=found.name),)
    return found._replace(source=NewSource(_id(found.name), origin, signer, urls=urls))


def _id(name: str) -> CrlId:
    return CrlId(f"IGC-SANTE-{name}")
