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

#: The event stream never ends, and a new token ends the calls under the old one; both have tests of their own.
_LEFT_OUT = ["/api/v1/events", "/api/v1/owner/token-rotation"]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def published_schema() -> BaseSchema:
    """Return the schema that the web service publishes, without what cannot be called at random."""
    return schemathesis.openapi.from_dict(openapi_document(OPERATIONS, "1")).exclude(path=_LEFT_OUT)
