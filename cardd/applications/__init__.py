"""Applications that the owner let in: pairing, tokens, scopes, and the holder's consent to the use of a card."""
