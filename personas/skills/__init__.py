"""The skills by name: ours, and those that other distributions offer.

Others' are found through the entry point group `tulu_data.skills`, each a `Skill`:

    [project.entry-points."tulu_data.skills"]
    chess = "my_package.chess:SKILL"
"""

from __future__ import annotations

from functools import cache

from personas.skill import Skill
from personas.skills import code, grade_math, mathematics, precise_if, safety
from tulu_data.errors import UsageError, nearest
from tulu_data.plugins import with_others

GROUP = "tulu_data.skills"

SKILLS: dict[str, Skill] = {
    s.name: s
    for s in (precise_if.SKILL, mathematics.MATH, mathematics.ALGEBRA, grade_math.SKILL, code.SKILL, safety.SKILL)
}


@cache
def skills() -> dict[str, Skill]:
    """All skills by name. `InputError` where one that is installed does not load or takes another's name."""
    return with_others(SKILLS, GROUP, Skill)


def skill_of(name: str) -> Skill:
    """The skill of that name; `UsageError` with the nearest otherwise."""
    known = skills()
    if name not in known:
        raise UsageError(f"skill {name!r} is unknown; {nearest(name, known, noun='skill')}")
    return known[name]
