"""What its verifier does not see of a row: refusals, self-identification, cut-off, repetition, language, keywords.

Each filter is a rule on the text; a row that it meets is rejected with the filter's name and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from personas.skill import Rejected, Reply
from tulu_data.filters.identity import AS_AN_AI, I_AM_A_MODEL, I_AM_AN_AI, MADE_BY_A_MAKER
from tulu_data.filters.language import letters, prose_of
from tulu_data.filters.repetition import repeated_share
from tulu_data.verifiers.instructions import language_of
from tulu_data.verifiers.refusal import refuses

KEYWORDS = ("OpenAI", "ChatGPT", "Anthropic", "DeepMind", "as of my last update", "knowledge cutoff")
REPEATED = 0.5  # share of word 4-grams that stand there already; good prose has under 0.1
REPETITION_WORDS = 60  # texts below are too short to tell
LANGUAGE_LETTERS = 80  # likewise
_GRAM = 4

# In any person, and in prompts too: what is made has no need to speak of models.
_SELF = re.compile(rf"\b(?:{AS_AN_AI}|{I_AM_AN_AI}|{I_AM_A_MODEL}|{MADE_BY_A_MAKER})", re.IGNORECASE)


@dataclass(frozen=True)
class Filters:
    """Which rules hold. keywords: rows with any of these, as words in any case, are rejected."""

    keywords: Sequence[str] = KEYWORDS
    repeated: float = REPEATED

    def check(self, prompt: str, reply: Reply, *, language: str, checks_language: bool, refuses_rightly: bool) -> None:
        """`Rejected` by the first rule that the row does not keep."""
        response = reply.text
        if reply.finish_reason == "length":
            raise Rejected("truncated", "the answer was cut off at its longest length")
        if response.count("```") % 2:
            raise Rejected("truncated", "a code block is not closed")
        if reply.answer.refusal or (not refuses_rightly and refuses(response)):
            raise Rejected("refusal", " ".join((reply.answer.refusal or response)[:80].split()))
        for place, text in (("prompt", prompt), ("answer", response)):
            said = _SELF.search(text)
            if said and not (refuses_rightly and place == "answer"):
                raise Rejected("self-identification", f"the {place} says {said[0]!r}")
            for word in self.keywords:
                if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE):
                    raise Rejected("keyword", f"the {place} holds {word!r}")
            if (share := repeated_share(text, n=_GRAM, min_words=REPETITION_WORDS)) > self.repeated:
                raise Rejected("repetition", f"{share:.0%} of the {place} repeats itself")
            if (place == "prompt" or checks_language) and (found := _other_language(text, language)):
                raise Rejected("language", f"the {place} is in {found!r}, not {language!r}")


def _other_language(text: str, language: str) -> str | None:
    """The language of a text's prose where it is another; None also where there is too little to tell."""
    prose = prose_of(text)
    if letters(prose) < LANGUAGE_LETTERS:
        return None
    found = language_of(prose)
    return None if found is None or found.partition("-")[0] == language.partition("-")[0] else found
