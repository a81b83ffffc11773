"""Token errors as people see them."""

import pytest

from cardd.custody.errors import PinIncorrectFaultError, token_errors_translated, translated
from cardd_pkcs11.errors import Ckr, TokenError, TokenErrorCode, error_class


@pytest.mark.parametrize("code", TokenErrorCode)
def test_every_token_error_has_a_status_and_both_languages(code: TokenErrorCode) -> None:
    fault = translated(error_class(code)("cannot sign", ckr=Ckr.DEVICE_ERROR))
    assert 400 <= fault.status < 600
    assert fault.detail.en != fault.detail.fr
    assert fault.title.fr
    assert fault.advice.fr
    assert fault.data == {"ckr": "CKR_DEVICE_ERROR"}


def test_a_wrong_pin_crosses_the_room_as_a_403() -> None:
    with pytest.raises(PinIncorrectFaultError) as caught, token_errors_translated():
        raise error_class(TokenErrorCode.PIN_INCORRECT)("cannot log in")
    assert (caught.value.code, caught.value.status) == ("pin_incorrect", 403)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), token_errors_translated():
        raise KeyError
    assert issubclass(error_class(TokenErrorCode.PROTOCOL), TokenError)
