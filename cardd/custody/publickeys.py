"""Public keys whose private keys everybody has, because a standard or a widely copied example prints them.

Named by the SHA-256 of their SubjectPublicKeyInfo. Keys that leak later are blocked by the owner (see `registry`).
"""

from collections.abc import Mapping
from types import MappingProxyType

#: Where the private key is printed, by the hash of the public key.
KNOWN_PUBLICLY: Mapping[str, str] = MappingProxyType(
    {
        "8fb6bad671cfe698393c453357da61b56d757ab8c0f3fb9c87f2849e63131878": "RFC 9500 §2.1 (testRSA2048)",
        "b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e": "RFC 9500 §2.3 (testECCP256)",
        "c4c10105a0be0ed4dd3354428dc38a9bfee64da141ce16e75c94eda272f9dd3a": "RFC 9500 §2.3 (testECCP384)",
        "5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4": "RFC 6979 §A.2.5",
        "2f95601fa82060b909bfc6b979dbd303d34d34e0afb27ea496beac362f242a4b": "RFC 6979 §A.2.6",
        "6fd13c2435a361e7c588cd17f55f5ad3df0177a66c1727a6a200845f4d7ab88c": "RFC 7515 §A.2",
        "2bd1bb0c44a897c30a7aa0991cde38d8062fe441de50da0f46825344f602e827": "RFC 7515 §A.3",
        "51b944cdfa544d4c3273aa6bf350625a7dd53bbb6a71723274f538b19a207760": "RFC 7517 §A.2",
        "f56c8b01227f62ddbc16eb29a6ac0b310e276760a5e06302fa881a35146f6bc7": "jwt.io",
        "411a6612528417de252e5d2bf92bcf16bb2279b77f79ccd1f5c30d96418d1c08": "jwt-go (test/sample_key)",
    }
)
