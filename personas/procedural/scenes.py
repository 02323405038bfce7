"""A persona's scene: what tasks without a model may name of it."""

from __future__ import annotations

import random
import re

from personas.persona import Persona
from personas.procedural.family import Scene

NAMES = tuple(
    "Amara Bilal Chiara Dawit Elif Farid Greta Hana Imani Jonas Kenji Leila Mateo Nadia Oskar Priya Quinn Rafael Sofia "
    "Tariq Uma Viktor Wanjiru Ximena Yusuf Zofia Akua Bruno Camila Dmitri Esther Fatou Giulia Hugo Ingrid Joao Kavya "
    "Lars Mei Noor Olga Pablo Ravi Sana Thabo Valentina Wei Yara Zeynep".split()
)
# For personas that do not say what they are busy with; the shipped sample's do.
TOPICS = ("the work of the week", "planning ahead", "learning a new skill", "teaching beginners", "keeping records")
ITEMS = (("notebooks", "pencils"), ("tickets", "programmes"), ("boxes", "labels"), ("lamps", "batteries"))
PLACES = ("at home", "at the community centre", "in a small office", "at the weekly market")


def scene_of(persona: Persona, rng: random.Random) -> Scene:
    """What is known of the persona, and a first name and whatever else is missing by chance."""
    return Scene(
        persona=noun_phrase(persona.text),
        topic=persona.topic or rng.choice(TOPICS),
        items=persona.items or rng.choice(ITEMS),
        place=persona.place or rng.choice(PLACES),
        name=rng.choice(NAMES),
    )


def noun_phrase(text: str) -> str:
    """A persona's text so that it can stand after a comma: "a beekeeper who sells honey".

    >>> noun_phrase("A beekeeper who sells honey. She is 40."), noun_phrase("I fly planes.")
    ('a beekeeper who sells honey', 'someone who says of themselves "I fly planes"')
    """
    first = re.split(r"(?<=[a-z)][.!?])\s", text.strip(), maxsplit=1)[0].rstrip(".!? ")
    article = re.match(r"(?:An?|The)\b", first)
    return f"{first[0].lower()}{first[1:]}" if article else f'someone who says of themselves "{first}"'
