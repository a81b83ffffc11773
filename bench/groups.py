"""Every group of cases, in the order of the table."""

from bench import answers, issuing, keys, lists, ocsp, readers, revocation, revoking, signing, starting
from bench.frame import Group

GROUPS: tuple[Group, ...] = (
    issuing.GROUP,
    keys.GROUP,
    signing.GROUP,
    revocation.GROUP,
    revoking.GROUP,
    answers.GROUP,
    ocsp.GROUP,
    readers.GROUP,
    starting.GROUP,
    lists.GROUP,
)
