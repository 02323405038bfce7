"""The dataset card of a version: README.md with the front matter that the Hugging Face hub reads.

A view of the manifest: nothing else is read, and the text is part of no hash. What comes from data (names, licences,
models, a recipe's description) is shown as it is, never obeyed as Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import yaml

from tulu_data import composition, hub
from tulu_data.composition import Funnel, Stage
from tulu_data.license_terms import NOT_ON_HUB, TERMS, canonical, terms_of
from tulu_data.licenses import verdict
from tulu_data.manifest import Input, Manifest, covered_sources
from tulu_data.rows import SPECS, Kind
from tulu_data.tables import percent, printable
from tulu_data.tally import UNSTATED

MADE = ("synth", "pairs")  # steps whose rows were written for the purpose, not found

HOLDS: dict[Kind, str] = {
    "sft": "Conversations that end with the assistant, for supervised fine-tuning.",
    "prompt": "Prompts without an answer.",
    "preference": "Prompts with a chosen and a rejected answer, for preference optimisation.",
    "rlvr": "Prompts with a true answer and the verifier that checks against it, for reinforcement learning.",
}
TASKS: dict[Kind, list[str]] = {  # of the hub's list of tasks
    "sft": ["text-generation"],
    "prompt": ["text-generation"],
    "preference": ["text-generation"],
    "rlvr": ["text-generation", "reinforcement-learning"],
}

# size_categories of the hub: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
_SIZES = [(10**e, f"{10 ** (e % 3)}{'KMBT'[e // 3 - 1]}") for e in range(3, 13)]


def render(described: Manifest, repo: str | None = None) -> str:
    """The card as Markdown; with `repo` (ORG/NAME on the hub) it says how to load it from there."""
    front = yaml.dump(front_matter(described), Dumper=_Quoting, sort_keys=False, allow_unicode=True)
    sections = {
        "Composition": _composition(described),
        "How it was made": _funnel(described),
        "Licences and use": _licences(described),
        "Decontamination": _decontamination(described),
        "Load it": _loading(described, repo),
        "Check it, make it again": _checking(described, repo),
        "Limitations": _limitations(described),
    }
    body = [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join([f"---\n{front}---", f"# {inert(described.name)}", *_summary(described), *body]) + "\n"


class _Quoting(yaml.SafeDumper):
    """Quotes texts that begin like a number: to YAML 1.2, which the hub reads, 1e5 is one; to PyYAML it is none."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if re.match(r"[-+.]?\d", text) else None)


_Quoting.add_representer(str, _text_node)


def _summary(described: Manifest) -> Iterator[str]:
    recipe = described.origin.recipe if described.origin else {}
    if description := recipe.get("description"):
        yield inert(description)
    logical = described.logical
    of = f" ({inert(_without_folders(described.tokenizer))})" if described.tokenizer else ""
    tokens = "" if logical.tokens is None else f", {logical.tokens:,} tokens{of}"
    yield (
        f"{HOLDS[described.kind]} Version `{described.version}`: {_rows(logical.rows)} of kind `{described.kind}` "
        f"(`{described.schema_name}`), {logical.chars:,} characters{tokens}."
    )


# ------------------------------------------------------------ front matter


def front_matter(described: Manifest) -> dict[str, Any]:
    """What the hub reads of the card, plain for YAML."""
    spec, rows = SPECS[described.kind], described.logical.rows
    size = sum(shard.bytes for shard in described.shards)
    made = ["synthetic"] if any(step.name in MADE for step in described.steps) else []
    front: dict[str, Any] = {"pretty_name": described.name, **_license_keys(described)}
    if languages := _languages(described):
        front["language"] = languages
    front |= {
        "size_categories": [size_category(rows)],
        "task_categories": TASKS[described.kind],
        "tags": ["tulu-data", described.kind, *made, described.version],
    }
    if found := sorted({name for given in described.inputs if (name := _hub_name(given))}):
        front["source_datasets"] = found
    # The size in memory is not on record: num_bytes is that of the Parquet files, as download_size.
    split = {"name": "train", "num_bytes": size, "num_examples": rows}
    return front | {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
        "dataset_info": {"features": hf_features(spec.schema), "splits": [split], "download_size": size},
    }


def _license_keys(described: Manifest) -> dict[str, Any]:
    """`license` takes ids of the hub's list; what that lacks is `other`, with a name and, where it is known, a link."""
    names = {canonical(name) for s in described.logical.sources.values() for name in s.licenses}
    own = sorted(name for name in names if name != UNSTATED and (name in NOT_ON_HUB or name not in TERMS))
    ids = sorted(names - {UNSTATED, *own})
    ids += ["other"] if own else []
    ids += ["unknown"] if UNSTATED in names else []
    keys: dict[str, Any] = {"license": ids[0] if len(ids) == 1 else ids} if ids else {}
    if own:
        keys["license_name"] = _slug(own[0]) if len(own) == 1 else "see-licences-and-use"
        terms = terms_of(own[0])
        if len(own) == 1 and terms is not None:
            keys["license_link"] = terms.url
    return keys


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "see-licences-and-use"


def size_category(rows: int) -> str:
    """The hub's bucket for a number of rows.

    >>> size_category(999), size_category(1_000), size_category(939_343)
    ('n<1K', '1K<n<10K', '100K<n<1M')
    """
    below = [i for i, (limit, _) in enumerate(_SIZES) if rows < limit]
    if not below:
        return f"n>{_SIZES[-1][1]}"
    first = below[0]
    return f"n<{_SIZES[0][1]}" if first == 0 else f"{_SIZES[first - 1][1]}<n<{_SIZES[first][1]}"


def _languages(described: Manifest) -> list[str]:
    """The languages that filters kept, where every source went through such a filter; empty where that is not so."""
    found: set[str] = set()
    for funnel in composition.funnels(described):
        kept = [keep for stage in funnel.stages if (keep := _kept_languages(stage))]
        if not kept:
            return []
        found |= {code.partition("-")[0] for code in kept[-1]}  # the hub takes zh, not zh-cn
    return sorted(found)


def _kept_languages(stage: Stage) -> list[str]:
    filters = stage.params.get("filters", {}) if stage.step == "filter" else {}
    kept: list[str] = (filters.get("language") or {}).get("keep") or []
    return [] if any("language" in passed for passed in stage.params.get("exempt", {}).values()) else kept


def _hub_name(given: Input) -> str | None:
    address = hub.parse(given.uri)
    return address.name if address else None


def hf_features(schema: pa.Schema) -> list[dict[str, Any]]:
    """The columns as `dataset_info.features` of a card lists them: what `datasets.Features` writes, without it."""

    def feature(t: pa.DataType) -> dict[str, Any]:
        if pa.types.is_list(t):
            inner = feature(t.value_type)
            [(key, value)] = inner.items()
            return {"list": inner if key == "list" else value}
        if pa.types.is_struct(t):
            return {"struct": hf_features(pa.schema(list(t)))}
        return {"dtype": "float64" if pa.types.is_float64(t) else str(t)}

    return [{"name": f.name, **feature(f.type)} for f in schema]


# ------------------------------------------------------------ the body


def _composition(described: Manifest) -> str:
    listed, topics = composition.sources(described), composition.topics(described)
    if not listed:
        return "No rows."
    header = ["source", "topic", "rows", "share", "copies", "characters", "tokens", "of the tokens", "licence"]
    rows = [
        [
            *(s.source, s.topic or "", s.rows, _percent(s.share), s.copies, s.chars),
            *(_blank(s.tokens), _percent(s.token_share), ", ".join(s.licenses)),
        ]
        for s in listed
    ]
    parts = [_table(header, rows)]
    if any(t.topic for t in topics):
        header = ["topic", "rows", "share", "tokens", "of the tokens", "asked for", "parts"]
        by_topic = [
            [
                *(t.topic or "none", t.rows, _percent(t.share), _blank(t.tokens), _percent(t.token_share)),
                *(_percent(t.asked), ", ".join(t.parts)),
            ]
            for t in topics
        ]
        parts.append(_table(header, by_topic))
    return "\n\n".join(parts)


def _funnel(described: Manifest) -> str:
    funnels = [f for f in composition.funnels(described) if f.stages]
    header = ["part", "step", "rows in", "rows out", "left out", "how"]
    parts = [_table(header, [row for funnel in funnels for row in _stages(funnel)])] if funnels else []
    if described.inputs:
        header = ["read from", "revision", "records", "rows", "rejected"]
        inputs = [
            [_place(i), i.revision or "", i.records, i.rows, sum(i.rejected.values())]
            for i in sorted(described.inputs, key=lambda i: (_place(i), i.sha256))
        ]
        parts.append(_table(header, inputs))
    return "\n\n".join(parts)


def _stages(funnel: Funnel) -> Iterator[list[Any]]:
    for i, stage in enumerate(funnel.stages):
        first = funnel.part if i == 0 else ""
        yield [first, stage.step, stage.rows_in, stage.rows_out, _blank(stage.left_out), _how(stage)]


def _how(stage: Stage) -> str:
    """A step's settings in a few words: those that a reader of the card asks for."""
    given = stage.params
    if stage.step == "filter":
        dropped = [f"{rule['rule']} {rule['first']:,}" for rule in given.get("funnel", []) if rule["first"]]
        return ", ".join(dropped) or f"{', '.join(given.get('filters', {}))}: nothing dropped"
    if stage.step == "dedup":
        near = given.get("near") or {}
        exact = [f"exact {kind}" for kind in given.get("exact", [])]
        others = [f"{s['finder']} ≥ {s['threshold']}" for s in given.get("similar", [])]
        return ", ".join(
            [
                *exact,
                *([f"near ≥ {near['threshold']}"] if near else []),
                *others,
                f"{given.get('scope', 'within')} sources",
            ]
        )
    if stage.step == composition.MIX:
        return ", ".join(
            f"{key} {'' if value is True else value}".strip() for key, value in given.get("take", {}).items()
        )
    wanted = ("adapter", "skill", "method", "model", "policy", "audit")
    return ", ".join(f"{key} {_without_folders(given[key])}" for key in wanted if isinstance(given.get(key), str))


def _place(given: Input) -> str:
    """A hub address as it is; of a local file the name alone."""
    return given.uri if hub.parse(given.uri) else PurePosixPath(given.uri).name


def _without_folders(name: str) -> str:
    """A model or tokenizer by name; one of this machine by its last part, for folders are nobody's business."""
    return PurePosixPath(name).name if name.startswith(("/", "~/", "./", "../")) else name


def _licences(described: Manifest) -> str:
    found, total = composition.licences(described), described.logical.rows
    rows = [
        [
            *(use.license, use.rows or 0, percent(use.rows or 0, total)),
            *(", ".join(use.demands) if use.known else "not known", ", ".join(use.sources), use.url or ""),
        ]
        for use in found
    ]
    table = _table(["licence", "rows", "share", "demands", "sources", "terms"], rows)
    said = "\n".join(f"- {inert(line)}" for line in verdict(found))
    return f"{table}\n\n{said}\n\nBy the licences on record of the rows; no legal advice." if found else ""


def _loading(described: Manifest, repo: str | None) -> str:
    place = f'"{repo}", revision="{described.version}"' if repo else f'"path/to/{described.ref}"'
    folder = f"./{described.ref}" if repo else f"path/to/{described.ref}"
    fetch = [_download(described, repo)] if repo else []
    shell = "\n".join([*fetch, f"tulu show {folder} --rows 2"])
    return (
        f'```python\nfrom datasets import load_dataset\n\nrows = load_dataset({place}, split="train")\n```\n\n'
        f"```sh\n{shell}\n```"
    )


def _download(described: Manifest, repo: str) -> str:
    return f"hf download {repo} --repo-type dataset --revision {described.version} --local-dir {described.ref}"


def _checking(described: Manifest, repo: str | None) -> str:
    folder = f"./{described.ref}" if repo else described.ref
    lines = [f"tulu verify {folder} --level 2   # re-reads every row and recomputes the version id"]
    text = "The version id is a hash of the rows and their order: who has the same rows has the same id."
    if described.origin:
        lines.append(f"tulu reproduce {folder} -o again   # runs the recipe on record; --root DIR: where its files are")
        text += " `manifest.json` holds the recipe, every input with its sha256, and every step."
    else:
        text += " It was made step by step: `manifest.json` holds the steps and inputs, and no recipe to run again."
    return "{}\n\n```sh\n{}\n```".format(text, "\n".join(lines))


# ------------------------------------------------------------ the record of decontamination


def _decontamination(described: Manifest) -> str:
    """Against what, how, and how much: a paragraph and a table for each set that was audited."""
    if not described.decontamination:
        return "Not decontaminated: no audit is on record."
    bare = unaudited(described)
    rest = [f"Without a record: {', '.join(map(inert, bare))}."] if bare else []
    return "\n\n".join([*(_record(r) for r in described.decontamination), *rest])


def unaudited(described: Manifest) -> list[str]:
    """The sources that no decontamination record speaks of."""
    audited = {source for record in described.decontamination for source in covered_sources(record)}
    return sorted(set(described.logical.sources) - audited)


def _record(record: Mapping[str, Any]) -> str:
    suites, marks, judge = record["suites"], record.get("marks"), record.get("judge")
    count, rows, gone = sum(s.get("instances", 0) for s in suites), record["rows_in"], record["rows_dropped"]
    how = [
        *([f"{record['n']}-grams of `{record['analyzer']}`"] if "analyzer" in record else []),
        *([f"turns of role {record['roles']}"] if "roles" in record else []),
        *([f"layers {', '.join(record['layers'])}"] if "layers" in record else []),
        f"policy `{record['policy']}`, audit `{record['audit']}`",
    ]
    said = [
        f"**{inert(record['set'])}**: {gone:,} of {rows:,} rows ({percent(gone, rows)}) were dropped. "
        f"Held against {count:,} instances of {len(suites)} {'suite' if len(suites) == 1 else 'suites'}: "
        f"{', '.join(how)}.",
        *([f"A reviewer marked {marks['true']:,} matches true and {marks['false']:,} false."] if marks else []),
        *(
            [f"The model {inert(_without_folders(judge['model']))} judged {judge['asked']:,} pairs near in meaning."]
            if judge
            else []
        ),
    ]
    found = [s for s in suites if s.get("flagged") or s.get("rows_dropped")]
    clean = [inert(s["id"]) for s in suites if s not in found]
    parts = [" ".join(said)]
    if found:
        header = ["suite", "group", "instances", "overlap", "of the suite", "rows dropped", "of the set"]
        parts.append(_table(header, [_overlapped(s, rows) for s in found]))
    return "\n\n".join([*parts, *([f"No overlap that counts with {', '.join(clean)}."] if clean else [])])


def _overlapped(suite: Mapping[str, Any], rows: int) -> list[Any]:
    """As in Tables 8 and 37 of arXiv 2411.15124: the share of the set that goes, and of the suite that was in it."""
    dropped = suite.get("rows_dropped", 0)
    shares = percent(suite["flagged"], suite["instances"]), percent(dropped, rows)
    return [suite["id"], suite["group"], suite["instances"], suite["flagged"], shares[0], dropped, shares[1]]


# ------------------------------------------------------------ limitations


def _limitations(described: Manifest) -> str:
    return "\n".join(f"- {line}" for line in limitations(described))


def limitations(described: Manifest) -> list[str]:
    """What the record does not vouch for, each a sentence: only what follows from the manifest."""
    logical = described.logical
    lines = [*_audit_limits(described)]
    unknown = [use for use in composition.licences(described) if not use.known]
    if rows := sum(use.rows or 0 for use in unknown):
        lines.append(f"The terms of {_rows(rows)} are not known: {', '.join(inert(use.license) for use in unknown)}.")
    funnels = composition.funnels(described)
    if bare := _without(funnels, _looks_for_duplicates):
        lines.append(f"No step looked for duplicates in {bare}.")
    if copies := sum(s.copies for s in logical.sources.values()):
        lines.append(f"{_rows(copies)} repeat{'s' if copies == 1 else ''} the text of another of the same source.")
    if bare := _without(funnels, _looks_for_personal_data):
        lines.append(f"No step looked for personal data in {bare}.")
    if not _languages(described):
        lines.append("The languages of the rows were not established.")
    if made := sorted({s.source or described.name for s in described.steps if s.name in MADE}):
        lines.append(f"Written by models or templates, not by people: {', '.join(map(inert, made))}.")
    if described.tokenizer == "words/1":
        lines.append("Tokens are words and punctuation (`words/1`), not those of a model.")
    return lines


def _audit_limits(described: Manifest) -> Iterator[str]:
    if bare := unaudited(described):
        whole = len(bare) == len(described.logical.sources)
        yield f"Not checked against evaluation suites: {'any of it' if whole else ', '.join(map(inert, bare))}."
    if described.decontamination:
        layers = {layer for record in described.decontamination for layer in record.get("layers", ())}
        beyond = "" if "semantic" in layers else "; the same question in other words is not found"
        yield f"An audit speaks of the suites that it names, and of no other{beyond}."


def _without(funnels: Sequence[Funnel], holds: Callable[[Stage], bool]) -> str:
    bare = [funnel.part for funnel in funnels if not any(map(holds, funnel.stages))]
    return "any part" if len(bare) == len(funnels) > 1 else ", ".join(map(inert, bare))


def _looks_for_duplicates(stage: Stage) -> bool:
    return stage.step == "dedup"


def _looks_for_personal_data(stage: Stage) -> bool:
    return stage.step == "filter" and "pii" in stage.params.get("filters", {})


# ------------------------------------------------------------ Markdown

# What Markdown (with tables, strike-through and the hub's formulas) would read as more than a character.
_MARKUP = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def inert(text: str) -> str:
    r"""Text from data as one line of Markdown that shows it and does nothing else.

    >>> inert("[x](y) | <b> snake_case")
    '\\[x\\](y) \\| &lt;b&gt; snake_case'
    """
    one_line = _MARKUP.sub(r"\\\1", printable(" ".join(text.split()))).translate(_ENTITIES)
    return re.sub(r"^([-+#=:!]|\d+(?=[.)](?: |$)))", r"\\\1" if one_line[:1] in "-+#=:!" else r"\1\\", one_line)


def _table(header: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table without the columns that are empty in every row."""
    shown = [i for i in range(len(header)) if any(row[i] != "" for row in rows)]
    lines = ["| " + " | ".join(header[i] for i in shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(_cell(row[i]) for i in shown) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else inert(str(value))


def _blank(value: int | None) -> Any:
    return "" if value is None else value


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
