"""What each application makes of ageing lists: policies of its own, stored, beside those that every daemon has.

A stored policy is named as the request names it, or as the application that it is for: a caller that names no
policy gets the one under its own name, and without one that of the settings.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cardd.errors import ConflictError, FieldProblem, InvalidFieldsError, NotFoundError
from cardd.revocation.types import Decision, FreshnessPolicy, PolicyRequest, PolicyView
from cardd.store import Store, tables
from cardd.text import Text

#: From the strictest to the mildest.
_MILDNESS = (Decision.REFUSE, Decision.WARN, Decision.ACCEPT)


class PolicyFixedError(ConflictError):
    """A policy that every daemon has is neither changed nor removed."""

    code = "policy_fixed"
    title = Text("This policy is built in", "Cette politique est intégrée")
    default_advice = Text(
        "Store one under another name, such as the application's.",
        "Enregistrez-en une sous un autre nom, par exemple celui de l’application.",
    )


class _Stored(NamedTuple):
    policy: FreshnessPolicy
    changed_at: datetime


class FreshnessPolicies:
    """The policies by name, held in memory; `default` names that of callers without one."""

    def __init__(self, store: Store, fixed: Mapping[str, FreshnessPolicy], default: str) -> None:
        self._store = store
        self._fixed = dict(fixed)
        self._default = fixed[default]
        self._stored: dict[str, _Stored] = {}

    async def load(self) -> None:
        """Read the stored policies."""
        async with self._store.read() as connection:
            rows = (await connection.execute(sa.select(tables.freshness_policies))).all()
        self._stored = {
            row.name: _Stored(
                FreshnessPolicy(
                    name=row.name,
                    stale=Decision(row.stale),
                    expired=Decision(row.expired),
                    expired_hours=row.expired_hours,
                ),
                row.changed_at,
            )
            for row in rows
        }

    def of(
        self, name: str | None = None, callers: Iterable[str] = (), field: str = "policy"
    ) -> FreshnessPolicy:
        """Return the policy that a request names, else the first that is stored for one of the caller's names, else
        the default. Raises `InvalidFieldsError` naming `field` for a policy that there is not.
        """
        if name is not None:
            return self._named(name, field)
        for each in callers:
            if each in self._stored:
                return self._stored[each].policy
        return self._default

    def all(self) -> list[PolicyView]:
        """Return every policy: those that are built in, then those stored, by name."""
        fixed = [self._view(policy, built_in=True) for policy in self._fixed.values()]
        return fixed + [
            self._view(self._stored[name].policy, built_in=False) for name in sorted(self._stored)
        ]

    async def put(self, name: str, request: PolicyRequest) -> PolicyView:
        """Store a policy, in the place of one of that name; raises `PolicyFixedError` or `InvalidFieldsError`."""
        self._check_not_fixed(name)
        _check_order(request)
        policy = FreshnessPolicy(
            name=name, stale=request.stale, expired=request.expired, expired_hours=request.expired_hours
        )
        table = tables.freshness_policies
        values = {
            "stale": policy.stale.value,
            "expired": policy.expired.value,
            "expired_hours": policy.expired_hours,
        }
        async with self._store.transaction() as tx:
            await tx.execute(sa.delete(table).where(table.c.name == name))
            await tx.execute(sa.insert(table).values(name=name, changed_at=tx.now, **values))
            tx.journal("crl.policy.put", f"policy:{name}", **values)
            changed_at = tx.now
        self._stored[name] = _Stored(policy, changed_at)
        return self._view(policy, built_in=False)

    async def remove(self, name: str) -> None:
        """Forget a stored policy; raises `PolicyFixedError` or `NotFoundError`."""
        self._check_not_fixed(name)
        if name not in self._stored:
            raise NotFoundError.of(Text("freshness policy", "politique de fraîcheur"), name)
        table = tables.freshness_policies
        async with self._store.transaction() as tx:
            await tx.execute(sa.delete(table).where(table.c.name == name))
            tx.journal("crl.policy.remove", f"policy:{name}")
        del self._stored[name]

    def _named(self, name: str, field: str) -> FreshnessPolicy:
        if name in self._fixed:
            return self._fixed[name]
        if name in self._stored:
            return self._stored[name].policy
        known = ", ".join([*self._fixed, *sorted(self._stored)])
        problem = Text(f"must be one of {known}", f"doit être l’une de {known}")
        raise InvalidFieldsError([FieldProblem(field, problem)])

    def _check_not_fixed(self, name: str) -> None:
        if name in self._fixed:
            raise PolicyFixedError(Text(f"“{name}” is built in.", f"« {name} » est intégrée."))

    def _view(self, policy: FreshnessPolicy, *, built_in: bool) -> PolicyView:
        return PolicyView(
            name=policy.name,
            stale=policy.stale,
            expired=policy.expired,
            expired_hours=policy.expired_hours,
            built_in=built_in,
            default=policy == self._default,
        )


def _check_order(request: PolicyRequest) -> None:
    """Refuse what nobody can mean: to be milder with an expired list than with one that is only overdue."""
    problems = []
    if _MILDNESS.index(request.expired) > _MILDNESS.index(request.stale):
        problems.append(
            FieldProblem(
                "expired",
                Text("must not be milder than `stale`", "ne doit pas être plus indulgente que « stale »"),
            )
        )
    if request.expired is Decision.REFUSE and request.expired_hours is not None:
        problems.append(
            FieldProblem(
                "expired_hours",
                Text(
                    "says nothing where `expired` is `refuse`",
                    "n’a pas de sens si « expired » vaut « refuse »",
                ),
            )
        )
    if problems:
        raise InvalidFieldsError(problems)
