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
    r"|help (?:it|myself)\b|agree\b(?! to)|keep you\b"
    r"|tell (?:any|a |him\b|her\b|them\b|(?:my|your|his|her|their) (?:mother|father|parents|wife|husband|boss|friend))"
    r"|(?:make|give) (?:it\b|up\b|him|her\b|them\b)"
    r"|share (?:my|the) (?:room|bed|lunch)"
    r"|continue (?:like this|living|to live|with this (?:job|relationship)))"
    r"|\bregret that i (?:must|have to|will) (?:leave|resign|miss|inform|announce|cancel)"
    r"|\b(?:if|when|whenever|because|(?<!sorry )(?<!afraid )that) i (?:can(?:'t|not)|couldn't|am unable)\b"
    r"|\bsorry[,.]? (?:but )?(?:(?:i(?:'m| am) )?(?:confused|not (?:sure|familiar|certain))|that (?:is|was)\b"
    r"|i (?:did|do)(?:n't| not) (?:quite |fully )?(?:understand|follow|catch|get|hear))"
    # What asks back, owns up to a mistake, or disagrees.
    r"|\bsorry[,.]? (?:but )?(?:i(?:'m| am) afraid )?i(?:'m| am)? (?:"
    r"(?:\w+ )?(?:do|did|ca|could)(?:n't| ?not) (?:\w+ )?"
    r"(?:understand|follow|recogni[sz]e|agree(?! to)|mean|reali[sz]e|know what (?:you|that|it|the|[“\"]))"
    r"|(?:\w+ )?having trouble|not (?:following|being clear|trying)|(?:really )?have no idea what"
    r"|was(?:n't| not)? (?!(?:not )?able|unable)|were |should have"
    r"|(?:will )?need (?:a|an|more|some|you|to (?:know|ask|see|check))\b)"
    r"|\bsorry that (?:the|your|our|it|they|there|he|she)\b"
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
    # People's private data, harm to people, and getting away with it.
    r"|(?:home|private|personal|residential) (?:phone|e-?mail|address|number|information)\w*|where \w+ \w+ lives"
    r"|(?:'s|s') (?:home |personal |private |street )?(?:e-?mail(?: address)?|phone(?: number)?|address|password)"
    r"|(?:hurt|harm|attack|beat(?: up)?|punch|torment)(?:s|ing)? "
    r"(?:(?:a|an|the|my|your|his|her|their|some|other) )?(?:\w+ )?(?:some(?:one|body)|people|person|him|her|them|boy"
    r"|girl|kid|child|children|wife|husband|neighbou?rs?|boss|brother|sister|mother|father|(?:girl|boy)?friends?|cats?|dogs?)"
    r"|break \w+(?:'s|s)? (?:arms?|legs?|necks?|bones?)|make (?:my )?\w+ sick|prank calls?|revenge|vandal\w*|arson"
    r"|sneak (?:\w+ ){0,2}(?:into|onto|on|past|in)|smuggl\w+|trespass\w*|hijack\w*|insurance (?:money|fraud)"
    r"|look like an accident|(?:get|getting|got|being) caught|without (?:\w+ ){1,2}(?:noticing|knowing|finding out)"
    r"|spy(?:ing)? on|under the table|pirat(?:ed?|ing) (?:movies?|games?|music|software|books?)|piracy|cheating service"
    r"|(?:buy|sell|get|make|take|inject|smoke|hide|recommend|date[- ]rape|illegal|of|do) (?:\w+ )?drugs|drug tests?|pcp"
    r"|prostitut\w+|hookers?|escort service|profanit\w+|(?:cuss|swear|curse) words?|[fn][- ]word"
    r"|(?:ignore|bypass) (?:all |your |any )?(?:previous |safety )?(?:instructions|rules|filters|guidelines))\b",
    re.IGNORECASE,
)
_SORRY = re.compile(r"\b(?:sorry|apologi[sz]e|regret)\b", re.IGNORECASE)
_DENIES = re.compile(
    r"\b(?:not|no|never|cannot|unable|without|beyond|outside|against|confidential|private|illegal|unethical|difficult"
    r"|hard|impossible|decline|refuse)\b|n't\b",
    re.IGNORECASE,
)
LABELS = ("refusal", "harmful_request")


class Refusals(Strict):
    """Which refusals drop a row."""

    keep_harmful: bool = True  # refusals of requests that are harmful by their wording stay


def is_harmful(request: str) -> bool:
    """Whether a request is harmful, by its words."""
    return bool(_HARM.search(request.replace("’", "'")))


def refusal_in(answer: str) -> tuple[int, int] | None:
    """The sentence in which an answer refuses, as characters from and to; None where it does not."""
    head = own_words(answer[:HEAD_CHARS]).replace("’", "'")
    if not refuses(head):
        return None
    plain = _FIGURE.sub(lambda found: " " * len(found[0]), head)
    if not refuses(plain):
        return None
    sentences = [m for m in _SENTENCE.finditer(plain) if refuses(m[0])]
    refusing = next((m for m in sentences if not _only_apologises(m[0])), None)
    if refusing is not None:
        said = head[refusing.start() : refusing.end()]
        return refusing.start() + len(said) - len(said.lstrip()), refusing.end()
    # What refuses may take two sentences: "That is illegal. I won't …"
    return None if sentences else (0, len(head.rstrip()))


def _only_apologises(sentence: str) -> bool:
    """Whether a sentence refuses by the word sorry alone, and denies nothing."""
    return not _DENIES.search(sentence) and not refuses(_SORRY.sub(" ", sentence))


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


FILTER = Filter("refusals", "answers that refuse", Refusals, SPANS, annotate, judge, version=2)
