"""One test PKI a run: keys, linter and certificates are made once."""

import asyncio
from collections.abc import Iterator

import pytest

from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.policy import CaKeyAlgorithm
from tests.support.igc import MemorySigner, TestPki, build_pki, ec_signer, policy_for_tests, rsa_signer


@pytest.fixture(scope="session")
def linter() -> Iterator[Linter]:
    made = Linter()
    yield made
    asyncio.run(made.close())


@pytest.fixture(scope="session")
def rsa_key() -> MemorySigner:
    """A key that is certified; never a CA's."""
    return rsa_signer()


@pytest.fixture(scope="session")
def pki(linter: Linter) -> TestPki:
    """Nine authorities with RSA keys."""
    return build_pki(policy_for_tests(), linter, {name: rsa_signer() for name in CaName})


@pytest.fixture(scope="session")
def ec_pki(linter: Linter) -> TestPki:
    """Nine authorities with P-256 keys."""
    policy = policy_for_tests(ca_algorithm=CaKeyAlgorithm.EC_P256)
    return build_pki(policy, linter, {name: ec_signer() for name in CaName})
