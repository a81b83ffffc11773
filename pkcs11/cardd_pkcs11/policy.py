"""How long a host may take, as frozen data."""

from typing import Any

import msgspec

from cardd_pkcs11 import protocol
from cardd_pkcs11.types import KeyAlgorithm


class Deadlines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds that each kind of call may take inside its host, before the host is taken for hung and killed."""

    #: Starting the process and loading the module.
    start: float = 15.0
    #: Waiting for the host's earlier calls; the host is left alone when this passes.
    queue: float = 180.0
    read: float = 10.0
    write: float = 20.0
    #: Logging in derives a key from the PIN; a card may be slow.
    login: float = 15.0
    use_key: float = 15.0
    init_token: float = 30.0
    generate_small: float = 60.0
    generate_rsa_4096: float = 180.0

    def of(self, call: protocol.Call[Any]) -> float:
        """Return the default deadline of a call."""
        if isinstance(call, protocol.GenerateKeyPair):
            return self.generate_rsa_4096 if call.algorithm is KeyAlgorithm.RSA_4096 else self.generate_small
        if isinstance(call, protocol.InitToken | protocol.InitPin):
            return self.init_token
        if isinstance(call, protocol.Login | protocol.ChangePin | protocol.Unblock):
            return self.login
        if isinstance(call, protocol.Sign | protocol.Decrypt):
            return self.use_key
        if isinstance(call, protocol.StoreCertificate | protocol.StoreData | protocol.Destroy):
            return self.write
        return self.start if isinstance(call, protocol.Start | protocol.Refresh) else self.read
