"""Every group of cases, in the order of the table."""

from bench import keys, revocation, signing
from bench.frame import Group

GROUPS: tuple[Group, ...] = (keys.GROUP, signing.GROUP, revocation.GROUP)
