"""Every group of cases, in the order of the table."""

from bench import issuing, keys, lists, signing
from bench.frame import Group

GROUPS: tuple[Group, ...] = (issuing.GROUP, keys.GROUP, signing.GROUP, lists.GROUP)
