"""Certificates written on the token beside their keys, so that applications find both in one place."""

import sqlalchemy as sa
import structlog

from cardd.custody.errors import TokenFaultError, token_errors_translated
from cardd.orders.parts import OrderParts
from cardd.store.tables import certificates, tokens
from cardd_pkcs11.types import KeyId, TokenSerial

_log = structlog.get_logger(__name__)


_WRITABLE = sa.select(
    certificates.c.on_token,
    certificates.c.token_serial,
    certificates.c.key_id,
    certificates.c.common_name,
    certificates.c.der,
).where(certificates.c.serial == sa.bindparam("serial"))


async def write_on_token(parts: OrderParts, serial: str) -> bool:
    """Write a committed certificate on its token and note it; tell whether it is there.

    A token that fails now is tried again by `finish_token_writes`; writing twice changes nothing.
    """
    async with parts.store.read() as connection:
        row = (await connection.execute(_WRITABLE, {"serial": serial})).one()
    if row.on_token:
        return True
    token, key_id = TokenSerial(row.token_serial), KeyId(bytes.fromhex(row.key_id))
    try:
        with token_errors_translated():
            await parts.pool.store_certificate(token, key_id, row.common_name, row.der)
    except TokenFaultError as error:
        _log.warning("orders.certificate_not_on_token_yet", serial=serial, why=error.code)
        return False
    async with parts.store.transaction() as tx:
        written = sa.update(certificates).where(certificates.c.serial == serial).values(on_token=True)
        await tx.execute(written)
    return True


async def finish_token_writes(parts: OrderParts) -> int:
    """Write what an interrupted or failed retrieval left unwritten; return how many were written.

    A certificate for a key on another machine's token is written there.
    """
    table = certificates
    elsewhere = sa.select(tokens.c.serial).where(tokens.c.machine != parts.store.machine)
    missing = sa.select(table.c.serial).where(
        table.c.kind == "order", table.c.on_token.is_(False), table.c.token_serial.not_in(elsewhere)
    )
    async with parts.store.read() as connection:
        serials = (await connection.execute(missing.order_by(table.c.issued_at))).scalars().all()
    return sum([await write_on_token(parts, serial) for serial in serials])
