"""Persona-driven synthesis: prompts, solutions and preference pairs. Imports `tulu_data`, never the other way round."""
