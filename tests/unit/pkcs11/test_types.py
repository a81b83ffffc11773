"""Secrets, algorithms, deadlines."""

import pickle
import traceback

import pytest

from cardd_pkcs11 import protocol
from cardd_pkcs11.policy import Deadlines
from cardd_pkcs11.types import KeyAlgorithm, KeyId, KeyTemplate, Secret, TokenSerial


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("4711")
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    assert secret.reveal() == "4711"
    assert secret == Secret("4711")
    assert secret != Secret("4712")


def test_a_secret_cannot_be_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("4711"))


def test_a_secret_is_not_in_a_traceback_with_locals() -> None:
    def fail(pin: Secret) -> None:
        raise ValueError(pin)

    try:
        fail(Secret("4711"))
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "4711" not in shown.replace('Secret("4711")', "")


def test_algorithms_know_their_size() -> None:
    assert [algorithm.bits for algorithm in KeyAlgorithm] == [2048, 3072, 4096, 256, 384]
    assert not KeyAlgorithm.EC_P256.is_rsa


def test_making_a_large_key_may_take_longer() -> None:
    deadlines = Deadlines()

    def making(algorithm: KeyAlgorithm) -> float:
        return deadlines.of(
            protocol.GenerateKeyPair(
                serial=TokenSerial("x"),
                key_id=KeyId(b"1"),
                label="",
                algorithm=algorithm,
                template=KeyTemplate(sign=True, decrypt=False),
            )
        )

    assert making(KeyAlgorithm.RSA_4096) > making(KeyAlgorithm.RSA_2048) > deadlines.of(protocol.Ping())


@pytest.mark.parametrize("kind", protocol.Call.__subclasses__())
def test_every_call_says_what_answers_it(kind: type[protocol.Call[object]]) -> None:
    assert hasattr(kind, "result")
