"""Every group of cases, in the order of the table."""

from bench import issuing, keys, lists, readers, signing, starting
from bench.frame import Group

GROUPS: tuple[Group, ...] = (
    issuing.GROUP,
    keys.GROUP,
    signing.GROUP,
    readers.GROUP,
    starting.GROUP,
    lists.GROUP,
)
