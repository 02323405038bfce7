"""The tasks of the Tülu 3 evaluation: prompts, shots, truths, decoding and published scores (arXiv 2411.15124 §7)."""
