"""Answers to reset of the cards that can be played (ISO/IEC 7816-3 §8)."""

from cardd.virtualcard.content import CardProfile, Generation, Interface

_CPS3_CONTACT = bytes.fromhex("3BAC00402A001225006480000310009000")
_CPS3_CONTACTLESS = bytes.fromhex("3B8F80010031B86404B0ECC1739401808290000E")
_CPS4 = bytes.fromhex("3B9B188001001225006480040100009044")
_CPS2TER = bytes.fromhex("3BAC00402A001225006480820212009000")


def atr_of(profile: CardProfile) -> bytes:
    """Return the answer to reset; all cards of one generation and interface share it."""
    match profile.generation, profile.interface:
        case Generation.CPS2TER, _:
            return _CPS2TER
        case Generation.CPS4, _:
            return _CPS4
        case Generation.CPS3, Interface.CONTACTLESS:
            return _CPS3_CONTACTLESS
        case _:
            return _CPS3_CONTACT
