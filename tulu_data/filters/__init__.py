"""Quality filters: annotations of rows, kept by digest, and thresholds that say which rows stay.

from tulu_data.filters.registry import validate
from tulu_data.filters.filtering import filter_version

settings = validate({"length": {"max_chars": 20_000}, "language": {"keep": ["en"]}}, "my settings")
version = filter_version(store.open("chat"), store, "chat-filtered", settings, workers=4)
"""
