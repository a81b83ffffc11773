"""Keys that cannot be duplicated: custody policy, evidence, key checks, and the PINs of the daemon's own tokens."""
