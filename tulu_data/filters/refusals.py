"""Answers that refuse. Refusals of harmful requests stay, unless the recipe says otherwise.

Whether an answer refuses is decided by the verifier `refusal`; here quoted speech and figures of speech are taken out
first. Whether a request is harmful is told by its words, which a jailbreak may avoid: a classifier such as WildGuard
(arXiv 2406.18495) tells it better, and can be plugged in as a filter of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tulu_data.filters.annotation import (
    SPANS,
    Conversation,
    Filter,
    Reason,
    Span,
    Turn,
    Values,
    judge_spans,
    own_words,
    span_values,
    spans_of,
)
from tulu_data.strict import Strict
from tulu_data.verifiers.refusal import HEAD_CHARS, refuses

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+|\n|\Z)")
# "I can't recommend this book enough", "I cannot tell you how happy I am", "I can't help but wonder", "I can't make it
# tomorrow", "if I can't answer".
_FIGURE = re.compile(
    r"\b(?:can(?:'t|not)|couldn't|won't) (?:\w+ )?(?:"
    r"(?:recommend|praise|thank|stress|emphasi[sz]e)\b[^.!?]*\benough"
    r"|(?:tell|explain|describe)\b[^.!?]{0,20}\bhow (?:much|happy|grateful|glad|excited|proud|many)"
    r"|help (?:but|feeling|thinking|noticing|wondering|loving|falling|smiling|laughing|\w+ing)\b"
    r"|help (?:it|myself)\b"
    r"|(?:make|give) (?:it\b|up\b|him|her\b|them\b)"
    r"|share (?:my|the) (?:room|bed|lunch)"
    r"|continue (?:like this|living|to live|with this (?:job|relationship)))"
    r"|\bregret that i (?:must|have to|will) (?:leave|resign|miss|inform|announce|cancel)"
    r"|\b(?:if|when|whenever|because|that) i (?:can(?:'t|not)|couldn't|am unable)\b"
    r"|\bsorry[,.]? (?:but )?(?:(?:i(?:'m| am) )?(?:confused|not (?:sure|familiar|certain))|that (?:is|was)\b"
    r"|i (?:did|do)(?:n't| not) (?:quite |fully )?(?:understand|follow|catch|get|hear))"
    r"|\bsorry\b[^.!?]{0,80}\b(?:(?:to hear|for your|for the (?:confusion|inconvenience|delay|trouble|late))"
    r"|you(?:'re| are) (?:going|feeling|having|dealing|not feeling)"
    r"|that (?:(?:this|it) )?(?:happened|you(?:'re| are|'ve| had)))",
    re.IGNORECASE,
)
_HARM = re.compile(
    r"\b(?:bombs?|explosives?|grenades?|molotov|napalm|nerve agents?|sarin|ricin|anthrax|bioweapons?|chemical weapons?"
    r"|weapons?|ghost guns?|silencers?|ammunition|poison(?:s|ed|ing)?|cyanide|meth(?:amphetamine)?|cocaine|heroin"
    r"|fentanyl|lsd|mdma|crack|drug dealers?|overdos\w+|suicid\w+|self[- ]harm\w*|cut(?:ting)? myself"
    r"|kill(?:s|ed|ing)? (?:(?:a|an|the|my|your|his|her|their|all|some|off) )?(?:\w+ )?(?:person|people|m[ae]n|wom[ae]n"
    r"|wife|husband|neighbou?rs?|boss|child|children|kids?|humans?|president|family|brother|sister|mother|father|friends?"
    r"|cats?|dogs?|pets?|(?:any|some|every)(?:one|body)|him|her|them|me|(?:my|your|him|her)self)"
    r"|murder\w*|assassinat\w+|strangl\w+|stab(?:bing)?|torture|kidnap\w*|human traffick\w+|rape[ds]?|raping|molest\w*"
    r"|child porn\w*|underage|pedophil\w+|incest|revenge porn|deepfakes? (?:nudes?|porn)|sexually explicit|porn\w*"
    r"|hack(?:ing)? (?:in)?to|hack (?:\w+ ){0,3}(?:accounts?|email|phone|wifi|wi-fi|bank|facebook|instagram|computer)"
    r"|malware|ransomware|keyloggers?|spyware|botnets?|ddos|phishing|sql injection attack|crack (?:a |the )?passwords?"
    r"|steal(?:ing)?|shoplift\w*|rob (?:a|the|my)|burglar\w*|break into|pick (?:a |the )?locks?|hot[- ]?wir\w+"
    r"|counterfeit\w*|forge[ds]? (?:a |the |my )?(?:\w+ )?(?:check|cheque|passport|signature|document|prescription)s?"
    r"|fake (?:id|ids|passport|prescription|reviews?|news)|money launder\w*|launder(?:ing)? money|tax evasion"
    r"|evade (?:taxes|police|the law)|credit card (?:fraud|numbers?)|identity theft|scam\w*|fraud\w*|blackmail\w*"
    r"|extort\w*|stalk\w*|dox+\w*|harass\w*|bully\w*|racis[tm]\w*|racial slurs?|slurs?|sexist|misogyn\w+|antisemit\w+"
    r"|nazis?|white suprem\w+|genocid\w+|ethnic cleansing|hate speech|terroris[tm]\w*|school shooting|mass shooting"
    r"|disinformation|conspiracy|insults?|hateful|offensive joke|defam\w+|jailbreak|do anything now"
    r"|(?:ignore|bypass) (?:all |your |any )?(?:previous |safety )?(?:instructions|rules|filters|guidelines))\b",
    re.IGNORECASE,
)
LABELS = ("refusal", "harmful_request")


class Refusals(Strict):
    """Which refusals drop a row."""

    keep_harmful: bool = True  # refusals of requests that are harmful by their wording stay


def is_harmful(request: str) -> bool:
    """Whether a request is harmful, by its words."""
    return bool(_HARM.search(request))


def refusal_in(answer: str) -> tuple[int, int] | None:
    """The sentence in which an answer refuses, as characters from and to; None where it does not."""
    head = own_words(answer[:HEAD_CHARS]).replace("’", "'")
    if not refuses(head):
        return None
    sentences = [m for m in _SENTENCE.finditer(head) if refuses(m[0])]
    refusing = next((m for m in sentences if not _FIGURE.search(m[0])), None)
    if refusing is not None:
        start = refusing.start() + len(refusing[0]) - len(refusing[0].lstrip())
        return start, refusing.end()
    # What refuses may take two sentences: "That is illegal. I won't …"
    return None if sentences or _FIGURE.search(head) else (0, len(head.rstrip()))


def _refusals(conversation: Conversation) -> Iterator[Span]:
    requests: list[Turn] = []
    for turn in conversation.turns:
        if turn.role == "user":
            requests.append(turn)
        elif turn.role == "assistant" and turn.column != "rejected" and (found := refusal_in(turn.text)):
            label = LABELS[any(is_harmful(r.text) for r in requests)]
            yield from spans_of(turn, [(label, *found)])


def annotate(conversation: Conversation, section: Refusals) -> Values:
    """The sentences that refuse; those after a harmful request under a label of their own."""
    return span_values(_refusals(conversation))


def judge(values: Values, section: Refusals) -> Iterator[Reason]:
    """A reason for the first refusal, and for the first of a harmful request where these do not stay."""
    yield from judge_spans("refusals", values, LABELS[:1] if section.keep_harmful else LABELS)


FILTER = Filter("refusals", "answers that refuse", Refusals, SPANS, annotate, judge)
