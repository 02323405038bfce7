"""The prompts: text files that anyone can read and edit, as Jinja templates whose placeholders are known.

`prompts/SKILL/STAGE.md` beside this module, or in a folder of the user's that has the files to be replaced. A line
`=== system` or `=== user` begins a message; without one the whole is the user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from tulu_data.errors import InputError, UsageError, nearest

BUNDLED = Path(__file__).parent / "prompts"
SUFFIX = ".md"
HASH_HEX = 16
_PART = re.compile(r"^=== (system|user)[ \t]*$", re.MULTILINE)


class Message(dict[str, str]):
    """One message of a request."""


@dataclass(frozen=True)
class Template:
    """One prompt. place: where it is, for messages. text: with its placeholders."""

    place: str
    text: str

    def check(self, known: Iterable[str]) -> None:
        """`InputError` in one line where the text is no template or has a placeholder that is not `known`."""
        from jinja2 import TemplateSyntaxError, meta, nodes

        known = set(known)
        first = _PART.search(self.text)
        if first is not None and self.text[: first.start()].strip():
            raise InputError(f"{self.place}:1: the text above {first[0]!r} belongs to no message; move or remove it")
        if not any(text.strip() for _, _, text in self._parts()):
            raise InputError(f"{self.place}: is empty; write the prompt, or remove the file")
        for _, above, text in self._parts():
            try:
                tree = _environment().parse("\n" * above + text)
                used = meta.find_undeclared_variables(tree)
                lines = {n.name: n.lineno for n in reversed(list(tree.find_all(nodes.Name)))}
                _environment().compile(tree)  # filters and tests
            except TemplateSyntaxError as e:
                raise InputError(f"{self.place}:{e.lineno}: {e.message}; mend the template") from None
            for name in sorted(used - known):
                raise InputError(
                    f"{self.place}:{lines[name]}: unknown placeholder {name!r}; "
                    f"{nearest(name, known, noun='placeholder')}"
                )

    def messages(self, values: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
        """The messages, with values in the placeholders. What a value holds is never read as a template."""
        try:
            filled = [(role, str(part.render(values)).strip()) for role, part in self._compiled]
        except Exception as e:  # what a template computes may fail in any way
            raise InputError(f"{self.place}: {' '.join(str(e).split())}; mend the template") from None
        return tuple({"role": role, "content": text} for role, text in filled if text)

    @cached_property
    def _compiled(self) -> list[tuple[str, Any]]:
        environment = _environment()
        return [(role, environment.from_string(text)) for role, _, text in self._parts()]

    def _parts(self) -> list[tuple[str, int, str]]:
        """Each message's role, how many lines stand above its text, and the text."""
        marks = list(_PART.finditer(self.text))
        ends = [m.start() for m in marks[1:]] + [len(self.text)]
        parts = [
            (m[1], self.text.count("\n", 0, m.end()), self.text[m.end() : e]) for m, e in zip(marks, ends, strict=False)
        ]
        return parts or [("user", 0, self.text)]


@dataclass(frozen=True)
class Prompts:
    """A skill's templates by stage, as they are in a folder of the user's and, for the rest, in the package."""

    skill: str
    templates: Mapping[str, Template]

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the texts: what rows say of the prompts that they were made with."""
        h = sha256()
        for stage, template in sorted(self.templates.items()):
            h.update(f"{stage}\0{len(template.text)}\0{template.text}".encode())
        return h.hexdigest()[:HASH_HEX]

    def __getitem__(self, stage: str) -> Template:
        return self.templates[stage]


def load(
    skill: str, stages: Mapping[str, Iterable[str]], *, folder: Path | None = None, home: Path = BUNDLED
) -> Prompts:
    """The templates of a skill, each checked for the placeholders that its stage has.

    folder: the user's, with `SKILL/STAGE.md` for those to be replaced; `UsageError` where it has none of this skill's,
    or one that the skill does not know. home: where the skill's own are.
    """
    own = _own(skill, stages, folder) if folder is not None else {}
    templates = {}
    for stage, known in stages.items():
        path = own.get(stage, home / skill / f"{stage}{SUFFIX}")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f"{path}: cannot be read: {e}") from None
        templates[stage] = Template(str(path) if path.is_relative_to(folder or "/dev/null") else path.name, text)
        templates[stage].check(known)
    return Prompts(skill, templates)


def _own(skill: str, stages: Mapping[str, Iterable[str]], folder: Path) -> dict[str, Path]:
    found = {p.stem: p for p in sorted((folder / skill).glob(f"*{SUFFIX}"))}
    if not found:
        raise UsageError(
            f"{folder}: has no {skill}/STAGE{SUFFIX}; write them there with: tulu synth {skill} --write-prompts DIR"
        )
    for stage, path in found.items():
        if stage not in stages:
            raise UsageError(f"{path}: {skill} has no stage {stage!r}; {nearest(stage, stages, noun='stage')}")
    return found


def write(prompts: Prompts, folder: Path) -> list[Path]:
    """Copies a skill's templates into `folder` to be edited; `UsageError` where one is there already."""
    from tulu_data.store import writing

    targets = {folder / prompts.skill / f"{stage}{SUFFIX}": t for stage, t in prompts.templates.items()}
    for target in targets:
        if target.exists():
            raise UsageError(f"{target}: is there already; edit it, or name another folder")
    with writing(folder, "--write-prompts"):
        for target, template in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(template.text, encoding="utf-8")
    return list(targets)


def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
