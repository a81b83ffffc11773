"""A CPS3 without its contacts: command bytes in, answer bytes out, no input or output of its own.

The behaviour is that of ISO/IEC 7816-4 as the CPS3 shows it to OpenSC and to ANS's Cryptolib. Whatever
the bytes, `Card.transmit` answers at least a status word and raises nothing.
"""

import secrets
from collections.abc import Callable
from typing import NamedTuple

from cardd.errors import CarddError
from cardd.virtualcard import assumptions
from cardd.virtualcard.apdu import ApduError, Command, Protocol, StatusError, parse_command
from cardd.virtualcard.atr import atr_of
from cardd.virtualcard.codes import DEFAULT_COST, AccessCodes, code_of, two_codes
from cardd.virtualcard.content import CardContent, Generation, Interface
from cardd.virtualcard.errors import CardStateError
from cardd.virtualcard.faults import (
    AlreadyLocked,
    CorruptedCertificate,
    FaultPlan,
    LastWrongPinAnswers,
    WrongStatus,
)
from cardd.virtualcard.files import Access, DedicatedFile, ElementaryFile, File, build_tree
from cardd.virtualcard.objects import SecureObjects
from cardd.virtualcard.operations import Operations
from cardd.virtualcard.selection import select
from cardd.virtualcard.state import StateStore
from cardd.virtualcard.wire import SW, Aid, CodeReference, Ins, Operation, SelectBy, sw_more_data, sw_wrong_le

_LONGEST_CHAIN = 4096
"""Bytes kept of chained commands."""
_NO_RESPONSE_DATA = 0x0C
"""P2 of SELECT: no file control information wanted."""
_SET_FOR_COMPUTATION = (0x41, 0x81, 0xC1)
"""P1 of MSE SET."""
_RESTORE = 0xF3
"""P1 of MSE RESTORE."""


class _Chain(NamedTuple):
    """The data of chained commands so far, and what they must have in common."""

    ins: int
    p1p2: int
    data: bytes


class Card:
    """One card under power; the same content and store make the same card again."""

    def __init__(
        self,
        content: CardContent,
        store: StateStore,
        *,
        faults: FaultPlan | None = None,
        code_cost: int = DEFAULT_COST,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Make the card as `store` remembers it.

        Raises:
            CardStateError: the state cannot be read or written.
        """
        self.content = content
        self.faults = faults or FaultPlan()
        self._random_bytes = random_bytes
        contact = content.profile.interface is Interface.CONTACT
        self._protocol = Protocol.T0 if contact else Protocol.T1
        self.codes = AccessCodes(content, store, code_cost)
        if self.faults.standing(AlreadyLocked):
            self.codes.block()
        for fault in self.faults.standing(LastWrongPinAnswers):
            self.codes.blocking_status = fault.sw
        self._root = build_tree(content, self.codes.cps_data)
        self._corrupt_certificates()
        self._operations = Operations(content, self.codes)
        self._objects = SecureObjects(content, self.codes)
        self._handlers = self._table()
        self.reset()

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        return atr_of(self.content.profile)

    def reset(self) -> None:
        """Power on or reset: the root is selected, nobody is logged in."""
        self._directory: DedicatedFile = self._root
        self._file: File = self._root
        self._waiting = b""
        self._chain: _Chain | None = None
        self.codes.forget_all()
        self._operations.reset()

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command with data and status word."""
        fault = self.faults.strike(WrongStatus, raw)
        if fault is not None:
            return _status(fault.sw)
        try:
            return self._deliver(parse_command(raw))
        except ApduError:
            return _status(SW.WRONG_LENGTH)
        except StatusError as error:
            return _status(error.sw)
        except CardStateError:
            return _status(SW.MEMORY_FAILURE)
        except CarddError:
            return _status(SW.UNKNOWN)

    def _deliver(self, command: Command) -> bytes:
        """Execute `command` and give its answer the form its protocol asks for."""
        waiting, self._waiting = self._waiting, b""
        if command.ins == Ins.GET_RESPONSE and waiting:
            return self._get_response(command, waiting)
        data = self._execute(command)
        if not data:
            return _status(SW.OK)
        if command.le is None:
            self._waiting = data
            return _status(sw_more_data(len(data)))
        if self._protocol is Protocol.T0 and not command.data and len(data) < command.le:
            return _status(sw_wrong_le(len(data)))
        return self._part(data, command.le)

    def _get_response(self, command: Command, waiting: bytes) -> bytes:
        wanted = command.le or 0x100
        if self._protocol is Protocol.T0 and wanted > len(waiting):
            self._waiting = waiting
            return _status(sw_wrong_le(len(waiting)))
        return self._part(waiting, wanted)

    def _part(self, data: bytes, wanted: int) -> bytes:
        self._waiting = data[wanted:]
        return data[:wanted] + _status(sw_more_data(len(self._waiting)) if self._waiting else SW.OK)

    def _execute(self, command: Command) -> bytes:
        if self.content.profile.generation is not Generation.CPS3:
            raise StatusError(SW.INS_NOT_SUPPORTED)
        _check_class(command.cla)
        handler = self._handlers.get(command.ins)
        if handler is None:
            raise StatusError(SW.INS_NOT_SUPPORTED)
        whole = self._chained(command)
        return b"" if whole is None else handler(whole)

    def _table(self) -> dict[int, Callable[[Command], bytes]]:
        return {
            Ins.SELECT: self._select,
            Ins.READ_BINARY: self._read_binary,
            Ins.UPDATE_BINARY: self._update_binary,
            Ins.VERIFY: self._verify,
            Ins.CHANGE_REFERENCE_DATA: self._change_reference_data,
            Ins.RESET_RETRY_COUNTER: self._reset_retry_counter,
            Ins.MANAGE_SECURITY_ENVIRONMENT: self._manage_security_environment,
            Ins.PERFORM_SECURITY_OPERATION: self._perform_security_operation,
            Ins.INTERNAL_AUTHENTICATE: self._internal_authenticate,
            Ins.GET_CHALLENGE: self._get_challenge,
            Ins.GET_DATA: self._get_data,
            Ins.GET_DATA_SDO: self._get_data_sdo,
            Ins.GET_RESPONSE: self._nothing_waits,
        }

    def _chained(self, command: Command) -> Command | None:
        """Return the command with the data of its whole chain, None while more is to come."""
        chain, self._chain = self._chain, None
        before = chain.data if chain is not None and chain[:2] == (command.ins, command.p1p2) else b""
        data = before + command.data
        if len(data) > _LONGEST_CHAIN:
            raise StatusError(SW.WRONG_LENGTH)
        if command.is_chained:
            self._chain = _Chain(command.ins, command.p1p2, data)
            return None
        return Command(command.cla, command.ins, command.p1, command.p2, data, command.le)

    def _select(self, command: Command) -> bytes:
        file = select(self._root, self._directory, command.p1, command.data)
        if command.p1 == SelectBy.DF_NAME and command.data == Aid.ROOT.value:
            self._log_out()
        self._file = file
        if isinstance(file, DedicatedFile):
            self._directory = file
        return b"" if command.p2 & _NO_RESPONSE_DATA == _NO_RESPONSE_DATA else file.control_parameters()

    def _read_binary(self, command: Command) -> bytes:
        file, offset = self._addressed(command)
        self._require(file.read)
        if offset >= len(file.content) > 0:
            raise StatusError(SW.OFFSET_OUTSIDE_FILE)
        return file.content[offset : offset + (command.le or 0x100)]

    def _update_binary(self, command: Command) -> bytes:
        file, offset = self._addressed(command)
        self._require(file.update)
        end = offset + len(command.data)
        if end > len(file.content):
            raise StatusError(SW.OFFSET_OUTSIDE_FILE)
        content = file.content[:offset] + command.data + file.content[end:]
        if file.fid == assumptions.CPS_DATA_FID:
            self.codes.write_cps_data(content)
        file.content = content
        return b""

    def _addressed(self, command: Command) -> tuple[ElementaryFile, int]:
        """Return the file and offset that P1-P2 name; a short identifier selects its file."""
        if not command.p1 & 0x80:
            if not isinstance(self._file, ElementaryFile):
                raise StatusError(SW.NO_CURRENT_FILE)
            return self._file, command.p1p2
        file = self._directory.by_short_id(command.p1 & 0x1F)
        if file is None:
            raise StatusError(SW.FILE_NOT_FOUND)
        self._file = file
        return file, command.p2

    def _verify(self, command: Command) -> bytes:
        reference = _code_reference(command)
        if command.p1:
            raise StatusError(SW.WRONG_P1_P2)
        if not command.data:
            raise StatusError(self.codes.status(reference))
        self.codes.verify(reference, command.data)
        return b""

    def _change_reference_data(self, command: Command) -> bytes:
        reference = _code_reference(command)
        if command.p1:
            raise StatusError(SW.WRONG_P1_P2)
        self.codes.change(reference, command.data)
        return b""

    def _reset_retry_counter(self, command: Command) -> bytes:
        """ISO/IEC 7816-4 §11.6.6: P1 says which of PUK and new PIN the data holds."""
        if _code_reference(command) is not CodeReference.PIN:
            raise StatusError(SW.REFERENCE_NOT_FOUND)
        match command.p1:
            case 0x00:
                puk, new_pin = two_codes(command.data)
                self.codes.unblock(puk=puk, new_pin=new_pin)
            case 0x01:
                self.codes.unblock(puk=code_of(command.data), new_pin=None)
            case 0x02:
                self.codes.unblock(puk=None, new_pin=code_of(command.data))
            case 0x03:
                self.codes.unblock(puk=None, new_pin=None)
            case _:
                raise StatusError(SW.WRONG_P1_P2)
        return b""

    def _manage_security_environment(self, command: Command) -> bytes:
        if command.p1 == _RESTORE:
            self._operations.reset()
        elif command.p1 in _SET_FOR_COMPUTATION:
            self._operations.set_environment(command.p2, command.data)
        else:
            raise StatusError(SW.WRONG_P1_P2)
        return b""

    def _perform_security_operation(self, command: Command) -> bytes:
        match command.p1p2:
            case Operation.DECIPHER:
                return self._operations.decipher(command.data)
            case Operation.HASH:
                self._operations.hash(command.data)
                return b""
            case Operation.COMPUTE_DIGITAL_SIGNATURE:
                return self._operations.compute_signature(command.data)
            case _:
                raise StatusError(SW.WRONG_P1_P2)

    def _internal_authenticate(self, command: Command) -> bytes:
        if command.p1p2:
            raise StatusError(SW.WRONG_P1_P2)
        return self._operations.internal_authenticate(command.data)

    def _get_challenge(self, command: Command) -> bytes:
        if command.p1p2:
            raise StatusError(SW.WRONG_P1_P2)
        return self._random_bytes(command.le or 0x100)

    def _get_data(self, command: Command) -> bytes:
        del command
        raise StatusError(SW.REFERENCE_NOT_FOUND)

    def _get_data_sdo(self, command: Command) -> bytes:
        if command.p1p2 != 0x3FFF:
            raise StatusError(SW.WRONG_P1_P2)
        return self._objects.get_data(command.data)

    def _nothing_waits(self, command: Command) -> bytes:
        del command
        raise StatusError(SW.CONDITIONS_NOT_SATISFIED)

    def _require(self, access: Access) -> None:
        if access is Access.NEVER or (access is Access.PIN and not self.codes.is_verified):
            raise StatusError(SW.SECURITY_STATUS_NOT_SATISFIED)

    def _log_out(self) -> None:
        """Selecting the root ends the PIN's login, not the PUK's: OpenSC selects it between PUK and new PIN."""
        self.codes.log_out()
        self._operations.reset()

    def _corrupt_certificates(self) -> None:
        """Spoil the structure, not the length, of the certificates that a fault names."""
        fids = {
            assumptions.CERTIFICATE_FIDS[fault.role] for fault in self.faults.standing(CorruptedCertificate)
        }
        for application in self._root.applications():
            for fid in fids & application.children.keys():
                file = application.children[fid]
                if isinstance(file, ElementaryFile):
                    file.content = file.content[:4] + bytes(each ^ 0x5A for each in file.content[4:])


def _check_class(cla: int) -> None:
    """Accept 00 and 10; say which feature another class would need (ISO/IEC 7816-4 §5.4.1)."""
    if cla & 0xE0:
        raise StatusError(SW.CLA_NOT_SUPPORTED)
    if cla & 0x0C:
        raise StatusError(SW.SECURE_MESSAGING_NOT_SUPPORTED)
    if cla & 0x03:
        raise StatusError(SW.CHANNEL_NOT_SUPPORTED)


def _code_reference(command: Command) -> CodeReference:
    if command.p2 not in list(CodeReference):
        raise StatusError(SW.REFERENCE_NOT_FOUND)
    return CodeReference(command.p2)


def _status(sw: int) -> bytes:
    return (sw & 0xFFFF).to_bytes(2, "big")
