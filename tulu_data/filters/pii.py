"""Personal data by its form: e-mail and IP addresses, phone, card and account numbers.

What can be checked is: Luhn's digit of cards (ISO/IEC 7812-1), mod 97 of IBANs (ISO 13616), assigned ranges of IP
addresses (IANA), of US area codes and of social security numbers. Addresses and numbers reserved for examples
(RFC 2606, RFC 5737, 555-01xx, the card schemes' test numbers) are nobody's and pass.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import Field

from tulu_data.filters.annotation import SPANS, Conversation, Filter, Reason, Values, judge_spans, span_values, spans_of
from tulu_data.strict import Strict

Named = Literal["email", "phone", "ipv4", "ipv6", "credit_card", "iban", "us_ssn"]
PATTERNS: tuple[Named, ...] = get_args(Named)

_REGEX: dict[Named, str] = {
    "email": r"(?<![\w.+/:-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w@]|-\w)",
    "iban": r"(?<![\w])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)",
    "credit_card": (
        r"(?<![\w.,$€£+-])(?:\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}|3[47]\d\d[ -]\d{6}[ -]\d{5}|\d{13,19})"
        r"(?![\w-]|[.,]\d)"
    ),
    "us_ssn": r"(?<![\w.,$+-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-]|\.\d)",
    "phone": (
        r"(?<![\w.,$€£+/=*^-])(?<!\d )(?:"
        r"\+(?!0)\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
        r"|(?:1[ .-])?\([2-9]\d\d\) ?[2-9]\d\d[ .-]\d{4}"
        r"|(?:1[ .-])?[2-9]\d\d([-.])[2-9]\d\d\1\d{4}"
        r"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5}"
        r")(?![\w/=*^-]|[.,]\d)"
    ),
    "ipv4": r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)",
    "ipv6": r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}(?![\w:])",
}
_ALL = {name: re.compile(pattern) for name, pattern in _REGEX.items()}
_HINTS = {"email": "@", "ipv6": ":"}  # a character without which there is none
_DIGITS = re.compile(r"\d.*?\d.*?\d", re.DOTALL)

# RFC 2606, and names that documentation and code use in their place.
_EXAMPLE_DOMAIN = re.compile(
    r"(?:.*\.)?(?:examples?\d*|test|invalid|localhost|domain|yourdomain|mydomain|email|mail|company|yourcompany"
    r"|mycompany|website|yoursite|site|foo|bar|abc|xyz|acme|sample|dummy|placeholder|somewhere|server|host|provider)\.[a-z.]+|.*\.(?:test|example"
    r"|invalid|local|localhost|internal|png|jpg|py|js)",
    re.IGNORECASE,
)
_EXAMPLE_USER = re.compile(
    r"(?:user(?:name)?|your?[._-]?(?:name|email)?|name|email|someone|somebody|noreply|no-reply|git|foo|bar|test|admin"
    r"|first(?:name)?[._]?last(?:name)?|j(?:ohn|ane)?[._]?(?:doe|smith)|me|root|info|support|contact|sales|help|hello"
    r"|service|office|press|jobs|letters|editors?|news\w*|tips|feedback|webmaster|postmaster|hr|careers?|marketing|media"
    r"|e?nquir(?:y|ies)|inquir(?:y|ies)|orders?|bookings?|reservations?|team|billing|accounts?|abuse|security|privacy|legal"
    r"|(?:un)?subscribe|customer[._-]?(?:service|support|care))\d*",
    re.IGNORECASE,
)
_TEST_CARDS = {
    "4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556", "5555555555554444",
    "5105105105105100", "2223003122003222", "378282246310005", "371449635398431", "6011111111111117",
    "6011000990139424", "3530111333300000", "3566002020360505", "4222222222222",
}  # fmt: skip
_CARD_PREFIX = re.compile(r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|6(?:011|5|4[4-9])|35(?:2[89]|[3-8])")
_CARD_LENGTHS = (15, 16, 19)
_TOLL_FREE = re.compile(r"8(?:00|33|44|55|66|77|88)|900")  # NANPA's non-geographic codes
_NOT_SSN = {"078-05-1120", "219-09-9999", "123-45-6789", "111-11-1111"}  # printed on samples
_RESOLVERS = {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220"}
_SMALL_OCTET = 20  # addresses of four such are as good as all section and version numbers
_VERSION = re.compile(
    r"(?:\bv|versions?|release|build|firmware|section|chapter|driver|chrome/|§|#)[ :=.]*$", re.IGNORECASE
)
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
    "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27,
    "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}  # fmt: skip


class Pii(Strict):
    """Which patterns drop a row, and in which turns they are looked for."""

    drop: list[Named] = Field(default_factory=lambda: list(PATTERNS), min_length=1)
    answers_only: bool = False


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others."""
    doubled = [2 * int(d) if i % 2 else int(d) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether a text without spaces is an account number of its country's length with the right check digits."""
    if _IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _is_card(digits: str) -> bool:
    known = len(digits) in _CARD_LENGTHS and _CARD_PREFIX.match(digits) is not None
    return known and digits not in _TEST_CARDS and len(set(digits)) > 3 and luhn(digits)


def _is_phone(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if not 9 <= len(digits) <= 15:  # E.164 has 15 at most
        return False
    national = digits[-10:]
    fictional = national[3:6] == "555" or len(set(national)) < 3 or national in "01234567890123456789"
    if _TOLL_FREE.match(national) and len(digits) <= 11:
        return False  # a company's or a hotline's
    return not fictional and re.fullmatch(r"(?:19|20)\d\d[-.]\d\d?[-.]\d\d?", text) is None


def _is_ipv4(text: str, before: str) -> bool:
    octets = text.split(".")
    if any(len(o) > 1 and o[0] == "0" for o in octets) or any(int(o) > 255 for o in octets):
        return False
    if all(int(o) < _SMALL_OCTET for o in octets) or _VERSION.search(before):
        return False
    return text not in _RESOLVERS and ipaddress.IPv4Address(text).is_global


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).is_global and len(text) > 8 and any(c.isdigit() for c in text)
    except ValueError:
        return False


def _is_email(text: str) -> bool:
    user, _, domain = text.rpartition("@")
    return not _EXAMPLE_DOMAIN.fullmatch(domain) and not _EXAMPLE_USER.fullmatch(user)


def _holds(name: Named, text: str, before: str) -> bool:
    """Whether what has the form of one is one."""
    if name == "email":
        return _is_email(text)
    if name == "iban":
        return is_iban(text.replace(" ", ""))
    if name == "credit_card":
        return _is_card(re.sub(r"\D", "", text))
    if name == "us_ssn":
        return text not in _NOT_SSN
    if name == "phone":
        return _is_phone(text)
    return _is_ipv4(text, before) if name == "ipv4" else _is_ipv6(text)


def personal_data(text: str) -> Iterator[tuple[str, int, int]]:
    """Where a text has what looks like personal data, as `(pattern, start, end)`; nothing twice."""
    taken: list[tuple[int, int]] = []
    has_digits = _DIGITS.search(text) is not None
    for name, pattern in _ALL.items():
        if (_HINTS.get(name, "") not in text) or (name != "email" and not has_digits):
            continue
        for found in pattern.finditer(text):
            start, end = found.span()
            if any(start < e and s < end for s, e in taken):
                continue
            if _holds(name, found[0], text[max(0, start - 12) : start]):
                taken.append((start, end))
                yield name, start, end


def annotate(conversation: Conversation, section: Pii) -> Values:
    """The places in any turn but rejected answers; those of answers first, since only these may count."""
    turns = sorted(conversation.turns, key=lambda turn: turn.role != "assistant")
    if section.answers_only:
        turns = [turn for turn in turns if turn.role == "assistant"]
    return span_values(s for t in turns if t.column != "rejected" for s in spans_of(t, personal_data(t.text)))


def judge(values: Values, section: Pii) -> Iterator[Reason]:
    """A reason for each pattern that was found and is to be dropped."""
    yield from judge_spans("pii", values, section.drop)


def _key(section: Pii) -> dict[str, bool]:
    return {"answers_only": section.answers_only}


FILTER = Filter("pii", "personal data by its form", Pii, SPANS, annotate, judge, version=2, key=_key)
