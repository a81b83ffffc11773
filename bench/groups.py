"""Every group of cases, in the order of the table."""

from bench import issuing, keys, lists, revocation, revoking, signing
from bench.frame import Group

GROUPS: tuple[Group, ...] = (
    issuing.GROUP,
    keys.GROUP,
    signing.GROUP,
    revocation.GROUP,
    revoking.GROUP,
    lists.GROUP,
)
