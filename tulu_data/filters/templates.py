"""What chat templates and careless exports leave in the text: special tokens, headers, other speakers' turns.

Left in, special tokens end a training turn early where a tokenizer reads them, and role headers teach a model to go on
as the user. Tokens in code are taken to be talked about, not left over, and so are those that the request has too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tulu_data.filters.annotation import (
    SPANS,
    Conversation,
    Filter,
    Reason,
    Turn,
    Values,
    judge_spans,
    own_words,
    span_values,
    spans_of,
    without_code,
)
from tulu_data.strict import Strict

# ChatML and Qwen, Llama 3, GPT, Phi, Tülu and Command R; DeepSeek; Llama 2 and Mistral; Gemma, BERT and T5.
_TOKENS = (
    r"<\|(?:im_start|im_end|im_sep|endoftext|endofprompt|end|eot_id|eom_id|begin_of_text|end_of_text|start_header_id"
    r"|end_header_id|user|assistant|system|prompter|python_tag|pad|unk|fim_\w+|END_OF_TURN_TOKEN"
    r"|START_OF_TURN_TOKEN|USER_TOKEN|CHATBOT_TOKEN|SYSTEM_TOKEN|channel|message|return|startoftext|sep)\|>"
    r"|<｜[^｜<>\n]{2,30}｜>|\[/?INST\]|<</?SYS>>|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|</?(?:start_of_turn|end_of_turn)>|<(?:start_of_turn|end_of_turn|bos|eos|pad|unk|extra_id_\d+|sep|cls|mask)>"
    r"|\[(?:CLS|SEP|PAD|UNK|MASK|EOS|BOS)\]|</s>(?=\s*(?:\Z|<s>|\n))|(?:\A|\n)<s>(?=\s*(?:\[INST\]|\w))(?![^\n]*</s>)"
    r"|<noinput>|<nooutput>|<no[_ ]input>"
)
_HEADERS = (
    r"^#{2,3} ?(?:Instruction|Response|Input|Human|Assistant|User|System|Output)s?:[ \t]*$"
    r"|^#{2,3} ?(?:Human|Assistant):"
    r"|^Below is an instruction that describes a task\b"
)
_SPEAKERS = (
    r"^(?:\*\*)?(?P<name>Human|User|Assistant|USER|ASSISTANT|HUMAN|Prompter|AI Assistant|Bot|ChatGPT)(?:\*\*)?: ?(?=\S)"
)
_FIELDS = (
    r"\{\{ ?(?:prompt|instruction|input|question|response|output|messages?|user|context|system_prompt) ?\}\}"
    r"|(?<![\w{$])\{(?:prompt|instruction|input|question|response|output|user_input|system_prompt)\}(?![\w}])"
    r"|<(?:PROMPT|INSTRUCTION|INPUT|RESPONSE|OUTPUT)>"
)
_NO_INPUT = ("<noinput>", "<nooutput>", "<no_input>", "<no input>")
_LABELLED = {"special_token": _TOKENS, "header": _HEADERS, "field": _FIELDS}
_ANY = re.compile(
    "|".join(f"(?P<{label}>{pattern})" for label, pattern in _LABELLED.items()),
    re.MULTILINE,
)
_SPEAKER = re.compile(_SPEAKERS, re.MULTILINE)
_MARKS = re.compile(r"[<\[{]|^#|^Below", re.MULTILINE)
_DIALOGUE = re.compile(
    r"\b(?:dialog(?:ue)?s?|conversations?|scripts?|transcripts?|chats?|screenplay|role-?play|interview|exchange|debate"
    r"|simulat\w+|multi-?turn|few-?shot|prompts?|Human|User|Assistant|Bot|ChatGPT)\b:?"
)
_ASKS = 200  # characters around which a request for a dialogue is looked for: its beginning and its end


class Templates(Strict):
    """Which leftovers drop a row."""

    special_token: bool = True
    header: bool = True
    field: bool = True
    role_leak: bool = True


def _leftovers(turn: Turn, requests: str) -> Iterator[tuple[str, int, int]]:
    text = without_code(turn.text)
    if _MARKS.search(text):
        for found in _ANY.finditer(text):
            # An answer may talk of what the request asks about.
            if turn.role == "assistant" and found[0].strip() in requests:
                continue
            if turn.role != "assistant" and not _left_over(text, found):
                continue
            yield str(found.lastgroup), found.start() + len(found[0]) - len(found[0].lstrip()), found.end()


def _left_over(text: str, found: re.Match[str]) -> bool:
    """Whether what a user's turn holds was left there, not asked about: it stands at an end of a line."""
    if found.lastgroup == "field":
        return False
    before, after = text[: found.start()].rstrip(" \t"), text[found.end() :].lstrip(" \t")
    at_an_end = not before or before[-1] == "\n" or not after or after[0] == "\n"
    return at_an_end or found[0] in _NO_INPUT


def _role_leaks(turn: Turn, asked: str) -> Iterator[tuple[str, int, int]]:
    """Speakers' names at the beginning of lines, unless the request is about a dialogue."""
    if turn.role != "assistant" or _DIALOGUE.search(asked):
        return
    leaks = list(_SPEAKER.finditer(own_words(turn.text)))
    if {found["name"] for found in leaks} == {"User"}:
        return  # a list of roles
    for found in leaks:
        yield "role_leak", found.start(), found.end()


def annotate(conversation: Conversation, section: Templates) -> Values:
    """The leftovers in any turn, and speakers' names in answers."""
    requests = "\n".join(turn.text for turn in conversation.requests)
    others = [turn.text for turn in conversation.turns if turn.role != "assistant"]
    asked = " ".join(f"{text[:_ASKS]} {text[-_ASKS:]}" for text in others)
    turns = [turn for turn in conversation.turns if turn.column != "rejected"]
    spans = [s for t in turns for s in spans_of(t, [*_leftovers(t, requests), *_role_leaks(t, asked)])]
    return span_values(spans)


def judge(values: Values, section: Templates) -> Iterator[Reason]:
    """A reason for each kind of leftover that the section names."""
    labels = ("special_token", "header", "field", "role_leak")
    yield from judge_spans("templates", values, (label for label in labels if getattr(section, label)))


FILTER = Filter("templates", "special tokens and template leftovers", Templates, SPANS, annotate, judge, version=2)
