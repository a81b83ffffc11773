"""From an order's fields to the subject of its certificate: the one place that fills the DN's values."""

from dataclasses import dataclass

from cardd.igc.names import OrganisationSubject, PersonSubject, StructurePersonSubject, Subject
from cardd.orders.departments import state_of
from cardd.orders.forms import OrderFields
from cardd.orders.identifiers import RPPS_PREFIX, IdentifierKind, StructureNumber
from cardd.orders.types import Person, StructureId
from cardd.vocabulary import PROFESSION_TITLES, STRUCTURE_PERSON_TITLE


@dataclass(frozen=True)
class Structure:
    """A structure as its certificates name it."""

    id: StructureId
    kind: IdentifierKind
    number: str
    name: str
    postal_code: str

    @property
    def state(self) -> str:
        """`ST`: its department, such as `Paris (75)`."""
        return state_of(self.postal_code)


def common_name_of(structure: StructureNumber, fields: OrderFields) -> str:
    """Return the CN: service, first FQDN, e-mail, or the person's identifier with its prefix."""
    person = fields.person
    if person is None:
        return fields.service or fields.email or fields.fqdn[0]
    if person.rpps is not None:
        return RPPS_PREFIX + person.rpps
    return f"{structure.kind.register_prefix}{structure.number}/{person.register}"


def subject_of(structure: Structure, fields: OrderFields) -> Subject:
    """Return the subject that a certificate for these fields bears."""
    common_name = common_name_of(StructureNumber(structure.kind, structure.number), fields)
    person = fields.person
    if person is None:
        return OrganisationSubject(
            state=structure.state, organisation=structure.name, unit=structure.id, common_name=common_name
        )
    if person.rpps is not None:
        return PersonSubject(
            title=_title(person),
            given_name=person.first_name,
            common_name=common_name,
            surname=person.last_name,
        )
    return StructurePersonSubject(
        state=structure.state,
        organisation=structure.name,
        unit=structure.id,
        title=_title(person),
        given_name=person.first_name,
        common_name=common_name,
        surname=person.last_name,
    )


def _title(person: Person) -> str:
    if person.profession is None:
        return STRUCTURE_PERSON_TITLE
    return PROFESSION_TITLES[person.profession]
