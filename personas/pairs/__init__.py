"""Preference pairs: two answers to one prompt, of which one is shown or judged to be better.

Three ways: an answer that keeps all constraints against one that breaks a dropped one (`relaxing`), an answer that a
verifier takes against one that it does not (`verified`), answers of several models by a judge's ratings (`judging`).
Each pair comes about as a row that talks; see `personas.skill`.
"""
