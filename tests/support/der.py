"""A reader of DER for comparisons in tests: what a certificate says, and in which form."""

from typing import NamedTuple

from cryptography import x509

_CONSTRUCTED = 0x20
_OID = 0x06


class Node(NamedTuple):
    """One element: its tag, its contents, and its elements when it is constructed."""

    tag: int
    contents: bytes
    children: tuple["Node", ...]


def parse(data: bytes) -> tuple[Node, ...]:
    """Return the elements that follow one another in `data`."""
    nodes = []
    while data:
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        contents = data[start : start + length]
        assert len(contents) == length
        nodes.append(Node(tag, contents, parse(contents) if tag & _CONSTRUCTED else ()))
        data = data[start + length :]
    return tuple(nodes)


def shape(node: Node) -> object:
    """Return the tags of `node` and of all below, without values."""
    return (hex(node.tag), *(shape(child) for child in node.children))


def name_shape(name: Node) -> list[list[tuple[str, str]]]:
    """Return the attribute types and string types of a Name, a list for each relative DN."""
    return [[(_oid(attribute.children[0]), hex(attribute.children[1].tag)) for attribute in rdn.children]
            for rdn in name.children]  # fmt: skip


def describe(der: bytes) -> dict[str, object]:
    """Return everything a certificate says, by name of what says it."""
    tbs = parse(der)[0].children[0].children
    version, serial, algorithm, issuer, validity, subject, spki, extensions = tbs
    certificate = x509.load_der_x509_certificate(der)
    described: dict[str, object] = {
        "version": version.contents,
        "serial length": len(serial.contents),
        "serial": serial.contents,
        "signature algorithm": algorithm,
        "issuer shape": name_shape(issuer),
        "issuer O and OU": issuer.children[1:4],
        "issuer C and CN": (issuer.children[0], issuer.children[4]),
        "time types": [time.tag for time in validity.children],
        "validity": _validity(certificate),
        "subject shape": name_shape(subject),
        "subject": subject.contents,
        "key type": spki.children[0],
        "key": spki.children[1].contents,
        "extension order": [_oid(extension.children[0]) for extension in extensions.children[0].children],
    }
    for extension in extensions.children[0].children:
        oid, *critical, value = extension.children
        named = f"extension {_oid(oid)}"
        described[f"{named} criticality"] = critical
        described[f"{named} shape"] = [shape(node) for node in parse(value.contents)]
        described[f"{named} value"] = value.contents
    return described


def _validity(certificate: x509.Certificate) -> object:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (
        end.year - start.year,
        end.month - start.month,
        end.day - start.day,
        end.timetz() == start.timetz(),
    )


def _oid(node: Node) -> str:
    assert node.tag == _OID
    dotted: list[int] = []
    arc = 0
    for byte in node.contents:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            dotted += [min(arc // 40, 2), arc - 40 * min(arc // 40, 2)] if not dotted else [arc]
            arc = 0
    return ".".join(map(str, dotted))
