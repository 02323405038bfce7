"""Duplicates within and across versions: exact, near (MinHash with exact verification), and by plug-ins."""

from tulu_data.dedup.dedup import duplicates_id, find_duplicates, find_in_store
from tulu_data.dedup.publishing import publish_unique
from tulu_data.dedup.result import Duplicates
from tulu_data.dedup.settings import ByFinder, Near, Settings

__all__ = [
    "ByFinder",
    "Duplicates",
    "Near",
    "Settings",
    "duplicates_id",
    "find_duplicates",
    "find_in_store",
    "publish_unique",
]
