"""`cardd track`: where an order or a certificate stands, and how it came there."""

import http.client

import click

from cardd.cli.certificate import print_certificate
from cardd.cli.options import Command, Options, page_options, pass_options
from cardd.cli.order import print_order, show_orders
from cardd.client import Answer, Client, ProblemError, segment
from cardd.orders.types import OrderState, OrderView


@click.command("track", cls=Command)
@click.argument("identifier", required=False, metavar="[ORDER|SERIAL]")
@click.option(
    "--state", type=click.Choice([each.value for each in OrderState]), help="Only orders in this state."
)
@click.option("--search", help="Only orders with this text.")
@page_options
@pass_options
def command(
    options: Options,
    *,
    identifier: str | None,
    state: str | None,
    search: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """Show an order, by its id, or a certificate, by its serial, with its history; without either, list orders."""
    if identifier is None:
        show_orders(options, {"state": state, "q": search, "limit": limit, "cursor": cursor})
        return
    client = options.client()
    order = _order(client, identifier)
    if order is None:
        print_certificate(options, client.get(f"/certificates/{segment(identifier)}"))
        return
    print_order(options, order)
    certificate = order.decode(OrderView).certificate
    if certificate is not None and not options.json:
        click.echo()
        print_certificate(options, client.get(f"/certificates/{segment(certificate)}"))


def _order(client: Client, identifier: str) -> Answer | None:
    try:
        return client.get(f"/orders/{segment(identifier)}")
    except ProblemError as error:
        if error.http_status == http.client.NOT_FOUND:
            return None
        raise
