"""The test PKI: hierarchy, profiles, issuing, revocation lists and OCSP.

It knows nothing of tokens, of HTTP or of tables: it signs through `signer.Signer`, answers bytes, and
leaves the uniqueness of serials, the numbers of lists and the revocations to its caller.
"""
