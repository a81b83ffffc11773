"""Every group of cases, in the order of the table."""

from bench import keys, revocation, revoking, signing
from bench.frame import Group

GROUPS: tuple[Group, ...] = (keys.GROUP, signing.GROUP, revocation.GROUP, revoking.GROUP)
