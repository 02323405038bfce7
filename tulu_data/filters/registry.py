"""The filters by name, ours and those that other distributions offer, and the recipe's section that sets them.

Others' are found through the entry point group `tulu_data.filters`, each a `Filter`; its settings stand in the section
under its name, and it is off unless it is named there:

    [project.entry-points."tulu_data.filters"]
    toxicity = "my_package.toxicity:FILTER"
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, create_model, model_validator

from tulu_data.errors import RecipeError, nearest
from tulu_data.filters import identity, language, length, pii, refusals, repetition, roles, templates
from tulu_data.filters.annotation import Filter
from tulu_data.filters.identity import CutOff, SelfIdentification, Vendors
from tulu_data.filters.language import Language
from tulu_data.filters.length import Length
from tulu_data.filters.pii import Pii
from tulu_data.filters.refusals import Refusals
from tulu_data.filters.repetition import Repetition
from tulu_data.filters.roles import Roles
from tulu_data.filters.templates import Templates
from tulu_data.plugins import with_others
from tulu_data.strict import Strict
from tulu_data.strict import validate as validate_strict

GROUP = "tulu_data.filters"

FILTERS: dict[str, Filter] = {  # in the order in which a row's first reason is told
    f.name: f
    for f in (
        roles.FILTER,
        length.FILTER,
        templates.FILTER,
        language.FILTER,
        refusals.FILTER,
        identity.SELF_IDENTIFICATION,
        identity.CUT_OFF,
        identity.VENDOR_NAMES,
        repetition.FILTER,
        pii.FILTER,
    )
}


def _switch(value: Any) -> Any:
    """`true` is a filter with its defaults, `false` none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


_Switch = BeforeValidator(_switch)


class Filters(Strict):
    """The `filter` section. Each filter takes its settings, `true` for its defaults, or `false` for off."""

    roles: Annotated[Roles | None, _Switch] = Roles()
    length: Annotated[Length | None, _Switch] = None
    templates: Annotated[Templates | None, _Switch] = Templates()
    language: Annotated[Language | None, _Switch] = None
    refusals: Annotated[Refusals | None, _Switch] = Refusals()
    self_identification: Annotated[SelfIdentification | None, _Switch] = SelfIdentification()
    cut_off: Annotated[CutOff | None, _Switch] = CutOff()
    vendors: Annotated[Vendors | None, _Switch] = None
    repetition: Annotated[Repetition | None, _Switch] = Repetition()
    pii: Annotated[Pii | None, _Switch] = None
    exempt: dict[str, list[str]] = Field(default_factory=dict, description="source → filters that pass it over")

    @model_validator(mode="after")
    def _exempt_from_known(self) -> Filters:
        for source, names in self.exempt.items():
            for name in names:
                if name not in filters():
                    raise ValueError(f"exempt.{source}: no filter {name!r}; {nearest(name, filters(), noun='filter')}")
        return self


class Active(NamedTuple):
    """A filter with its settings."""

    filter: Filter
    section: Strict


@cache
def filters() -> dict[str, Filter]:
    """All filters by name. `InputError` where one that is installed does not load or takes another's name."""
    return with_others(FILTERS, GROUP, Filter)


def model() -> type[Filters]:
    """The model of the section, with a key for each filter that other distributions offer."""
    others: dict[str, Any] = {
        name: (Annotated[f.settings | None, _Switch], None) for name, f in filters().items() if name not in FILTERS
    }
    return create_model("Filters", __base__=Filters, **others) if others else Filters


def validate(data: Mapping[str, Any], place: str, *, under: str = "filter") -> Filters:
    """The section as a strict model; `RecipeError` in one line at `place` where it is wrong."""
    return validate_strict(model(), data, place, under=under)


def active(settings: Filters) -> list[Active]:
    """The filters that are on, in order; `RecipeError` where there is none, or one that could drop nothing."""
    chosen = [Active(f, s) for name, f in filters().items() if (s := getattr(settings, name, None)) is not None]
    if not chosen:
        raise RecipeError(f"filter: every filter is off; turn one on: {', '.join(filters())}")
    for filter_, section in chosen:
        if filter_.is_idle(section):
            keys = ", ".join(sorted(type(section).model_fields))
            raise RecipeError(f"filter.{filter_.name}: is on and drops nothing; set what may stay (keys: {keys})")
    return chosen
