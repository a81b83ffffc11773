"""The floor: a PKCS#11 module driven by python-pkcs11 alone, in as many processes as asked, on a token of its own."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pkcs11
import pkcs11.util.ec

from cardd_pkcs11.profiles import load_profile
from cardd_pkcs11.softhsm import write_softhsm_config
from cardd_pkcs11.types import KeyAlgorithm

_PIN = "123456"
_LABEL = "floor"
_MESSAGE = b"m" * 512
_CURVES = {KeyAlgorithm.EC_P256: "secp256r1", KeyAlgorithm.EC_P384: "secp384r1"}


class RawToken:
    """A token with one key, in this process."""

    def __init__(self, directory: Path, algorithm: KeyAlgorithm) -> None:
        self._algorithm = algorithm
        library = _library(directory)
        if not any(slot.get_token().label == _LABEL for slot in library.get_slots(token_present=True)):
            _initialise(library)
        self._session = library.get_token(token_label=_LABEL).open(rw=True, user_pin=_PIN)
        found = list(self._session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}))
        self._key = found[0] if found else self.generate()

    def generate(self) -> Any:
        """C_GenerateKeyPair, stored on the token."""
        if self._algorithm.is_rsa:
            _, private = self._session.generate_keypair(pkcs11.KeyType.RSA, self._algorithm.bits, store=True)
            return private
        named = pkcs11.util.ec.encode_named_curve_parameters(_CURVES[self._algorithm])
        domain = self._session.create_domain_parameters(
            pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: named}, local=True
        )
        _, private = domain.generate_keypair(store=True)
        return private

    def sign(self) -> None:
        """C_Sign of the hash of 512 bytes with SHA-256, RSASSA-PKCS1-v1_5 or ECDSA."""
        if self._algorithm.is_rsa:
            self._key.sign(_MESSAGE, mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS)
        else:
            self._key.sign(_MESSAGE[:32], mechanism=pkcs11.Mechanism.ECDSA)


class RawSigners:
    """Processes that sign with one key as fast as they can."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def per_second(self, seconds: float) -> float:
        """Return how many signatures a second all of them make together."""
        for connection in self._connections:
            connection.send(seconds)
        return float(sum(connection.recv() for connection in self._connections))


@contextmanager
def raw_signers(
    directory: Path, algorithm: KeyAlgorithm, processes: int | None = None
) -> Iterator[RawSigners]:
    """Start processes, one a core by default, that sign with one key of a token of their own."""
    context = multiprocessing.get_context("spawn")
    connections, started = [], []
    try:
        for _ in range(processes or os.cpu_count() or 1):
            ours, theirs = context.Pipe()
            process = context.Process(target=_sign_on_demand, args=(theirs, directory, algorithm))
            process.start()
            started.append(process)
            connections.append(ours)
            # One after the other: the first makes the token and its key.
            ours.recv()
        yield RawSigners(connections)
    finally:
        for connection in connections:
            connection.close()
        for process in started:
            process.join()


def _sign_on_demand(connection: Connection, directory: Path, algorithm: KeyAlgorithm) -> None:
    # Ctrl-C ends who started this process, and the connection with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    token = RawToken(directory, algorithm)
    token.sign()
    connection.send(None)
    while True:
        try:
            seconds = connection.recv()
        except EOFError:
            # SoftHSM with OpenSSL 3 may crash in its exit handlers.
            os._exit(0)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            token.sign()
            count += 1
        connection.send(count / (time.perf_counter() - started))


def _library(directory: Path) -> Any:
    os.environ["SOFTHSM2_CONF"] = str(write_softhsm_config(directory))
    return pkcs11.lib(str(load_profile("softhsm2").locate()))


def _initialise(library: Any) -> None:
    slot = library.get_slots(token_present=True)[0]
    raw = ctypes.CDLL(str(load_profile("softhsm2").locate()))
    pin = _PIN.encode()
    if raw.C_InitToken(
        ctypes.c_ulong(slot.slot_id), pin, ctypes.c_ulong(len(pin)), _LABEL.encode().ljust(32)
    ):
        raise RuntimeError("the floor's token cannot be initialised")
    with library.get_token(token_label=_LABEL).open(rw=True, so_pin=_PIN) as session:
        session.init_pin(_PIN)
