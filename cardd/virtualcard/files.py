"""The file tree of a CPS3, its access rules, and what SELECT says of a file (ISO/IEC 7816-4 §7)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from cardd.virtualcard import assumptions, pkcs15
from cardd.virtualcard.content import CardContent, CardProfile, Interface, KeyRole
from cardd.virtualcard.tlv import Tlv
from cardd.virtualcard.wire import Aid, Fid, Sfi, Tag

_EF_ATR = bytes.fromhex(
    "804301B8460404B0ECC147039401804F088025000001FF0100E01002"
    "020104020201040202010002020100780806062B8122F8780282029000"
)
_LIFE_CYCLE_ACTIVATED = 0x05


class Access(Enum):
    """A security condition byte of an access rule (IAS-ECC)."""

    ALWAYS = 0x00
    PIN = 0x11
    """The holder's PIN, through security environment 1."""
    NEVER = 0xFF


@dataclass
class ElementaryFile:
    """A transparent file."""

    fid: int
    content: bytes
    sfi: int | None = None
    read: Access = Access.ALWAYS
    update: Access = Access.NEVER

    def control_parameters(self) -> bytes:
        """Return the FCP template."""
        rules = _rules(Access.NEVER, Access.NEVER, Access.NEVER, Access.NEVER, self.update, self.read)
        short = [] if self.sfi is None else [Tlv(Tag.SHORT_FILE_ID, bytes([self.sfi << 3]))]
        return Tlv(
            Tag.FCP,
            Tlv(Tag.FILE_SIZE, len(self.content).to_bytes(2, "big")),
            Tlv(Tag.FILE_DESCRIPTOR, b"\x01"),
            Tlv(Tag.FILE_ID, self.fid.to_bytes(2, "big")),
            *short,
            rules,
            Tlv(Tag.LIFE_CYCLE, bytes([_LIFE_CYCLE_ACTIVATED])),
        )


@dataclass
class DedicatedFile:
    """A directory or application."""

    fid: int
    aid: Aid
    parent: "DedicatedFile | None" = field(default=None, repr=False)
    children: "dict[int, ElementaryFile | DedicatedFile]" = field(default_factory=dict)

    def add(self, child: "ElementaryFile | DedicatedFile") -> None:
        """Put `child` in this directory."""
        self.children[child.fid] = child
        if isinstance(child, DedicatedFile):
            child.parent = self

    def control_parameters(self) -> bytes:
        """Return the FCP template."""
        return Tlv(
            Tag.FCP,
            Tlv(Tag.FILE_DESCRIPTOR, b"\x38"),
            Tlv(Tag.FILE_ID, self.fid.to_bytes(2, "big")),
            Tlv(Tag.DF_NAME, self.aid.value),
            _rules(*[Access.NEVER] * 6),
            Tlv(Tag.LIFE_CYCLE, bytes([_LIFE_CYCLE_ACTIVATED])),
        )

    def by_short_id(self, sfi: int) -> ElementaryFile | None:
        """Return the elementary file of this directory that bears `sfi`."""
        found = (
            each for each in self.children.values() if isinstance(each, ElementaryFile) and each.sfi == sfi
        )
        return next(found, None)

    def applications(self) -> "Iterator[DedicatedFile]":
        """Yield this directory and all below it."""
        yield self
        for child in self.children.values():
            if isinstance(child, DedicatedFile):
                yield from child.applications()


File = ElementaryFile | DedicatedFile


def application_of(profile: CardProfile) -> Aid:
    """Return the application that the card's interface opens."""
    return Aid.CONTACT if profile.interface is Interface.CONTACT else Aid.CONTACTLESS


def build_tree(content: CardContent, cps_data: bytes) -> DedicatedFile:
    """Return the master file of a card with `content`; `cps_data` is the present value of CPS_DATA."""
    aid = application_of(content.profile)
    fid = Fid.CONTACT_DF if aid is Aid.CONTACT else Fid.CONTACTLESS_DF
    root = DedicatedFile(Fid.MF, Aid.ROOT)
    root.add(ElementaryFile(Fid.EF_DIR, _directory(aid, fid), Sfi.EF_DIR))
    root.add(ElementaryFile(Fid.EF_ATR, _EF_ATR, Sfi.EF_ATR))
    root.add(ElementaryFile(Fid.EF_SN, Tlv(Tag.PAN, content.profile.serial_number), Sfi.EF_SN))
    application = DedicatedFile(fid, aid)
    root.add(application)
    for each in _application_files(content, aid):
        application.add(each)
    application.add(
        ElementaryFile(
            assumptions.CPS_DATA_FID,
            cps_data[: assumptions.CPS_DATA_SIZE].ljust(assumptions.CPS_DATA_SIZE, b"\x00"),
            update=Access.PIN,
        )
    )
    return root


def _application_files(content: CardContent, aid: Aid) -> Iterator[ElementaryFile]:
    contactless = aid is Aid.CONTACTLESS
    credentials = [each for each in content.credentials if (each.role is KeyRole.TECHNICAL) is contactless]
    data = list(assumptions.data_files(content))
    labels = content.profile.labels
    yield ElementaryFile(Fid.ODF, pkcs15.object_directory())
    yield ElementaryFile(Fid.TOKEN_INFO, pkcs15.token_info(content))
    yield ElementaryFile(Fid.AODF, pkcs15.authentication_objects(labels))
    yield ElementaryFile(assumptions.PRKDF_FID, pkcs15.private_keys(aid, credentials))
    yield ElementaryFile(assumptions.CDF_FID, pkcs15.certificates(aid, credentials, labels))
    yield ElementaryFile(assumptions.DODF_FID, pkcs15.data_objects(data))
    for credential in credentials:
        yield ElementaryFile(assumptions.CERTIFICATE_FIDS[credential.role], credential.certificate)
    for each in data:
        yield ElementaryFile(each.fid, each.content, read=Access.PIN if each.private else Access.ALWAYS)


def _directory(aid: Aid, fid: int) -> bytes:
    """EF.DIR: OpenSC takes the AID inside the discretionary data, Cryptolib the path; both are needed."""
    return Tlv(
        Tag.APPLICATION,
        Tlv(Tag.AID, aid.value),
        Tlv(Tag.LABEL, assumptions.APPLICATION_LABEL.encode()),
        Tlv(Tag.PATH, Fid.MF.to_bytes(2, "big"), fid.to_bytes(2, "big")),
        Tlv(Tag.DISCRETIONARY, Tlv(Tag.AID, aid.value)),
    )


def _rules(*conditions: Access) -> Tlv:
    """Access mode byte 7B and its six conditions (delete … update, read), for contact and contactless alike."""
    compact = b"\x7b" + bytes(each.value for each in conditions)
    return Tlv(
        Tag.ACCESS_RULES, Tlv(Tag.ACCESS_RULES_CONTACT, compact), Tlv(Tag.ACCESS_RULES_CONTACTLESS, compact)
    )
