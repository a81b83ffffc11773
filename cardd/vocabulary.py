"""Words of the field that the PKI, orders, cards and their callers share."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum, unique


@unique
class Usage(StrEnum):
    """What a certificate's key is for; a card's authentication key is `AUTH_CLI`."""

    AUTH_CLI = "AUTH_CLI"
    SIGN = "SIGN"
    CONF = "CONF"
    SSL_SERV = "SSL_SERV"
    SMIME = "SMIME"


@unique
class Profession(IntEnum):
    """Health professions by their codes in the private extension 1.2.250.1.71.1.2.7."""

    MEDECIN = 10
    PHARMACIEN = 21
    CHIRURGIEN_DENTISTE = 40
    SAGE_FEMME = 50
    INFIRMIER = 60
    MASSEUR_KINESITHERAPEUTE = 70
    PEDICURE_PODOLOGUE = 80
    ORTHOPHONISTE = 91


#: The `title` of a health professional's certificate, as the published ones spell it.
PROFESSION_TITLES: Mapping[int, str] = {
    Profession.MEDECIN: "Médecin",
    Profession.PHARMACIEN: "Pharmacien",
    Profession.CHIRURGIEN_DENTISTE: "Chirurgien-Dentiste",
    Profession.SAGE_FEMME: "Sage-Femme",
    Profession.INFIRMIER: "Infirmier",
    Profession.MASSEUR_KINESITHERAPEUTE: "Masseur-Kinésithérapeute",
    Profession.PEDICURE_PODOLOGUE: "Pédicure-Podologue",
    Profession.ORTHOPHONISTE: "Orthophoniste",
}

#: The `title` of a person of a structure who is no health professional (decoded from a CPE card's certificate).
STRUCTURE_PERSON_TITLE = "Personnel santé ou social"


@unique
class PossessionMechanism(StrEnum):
    """How a key signs to prove itself, always with SHA-256; RSASSA-PSS with MGF1 of SHA-256, any salt."""

    SHA256_RSA_PKCS = "sha256_rsa_pkcs"
    SHA256_RSA_PSS = "sha256_rsa_pss"
    #: DER `Ecdsa-Sig-Value` (RFC 3279 §2.2.3), as OpenSSL writes it.
    ECDSA_SHA256 = "ecdsa_sha256"
