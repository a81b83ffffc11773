"""Calls generated from the OpenAPI document, and what every answer is checked for."""

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cardd_webservice.api import OPERATIONS
from cardd_webservice.openapi import openapi_document

#: The event stream never ends; it has tests of its own.
_ENDLESS = "/api/v1/events"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def published_schema() -> BaseSchema:
    """Return the schema that the web service publishes, without what never ends."""
    return schemathesis.openapi.from_dict(openapi_document(OPERATIONS, "1")).exclude(path=_ENDLESS)
