"""One way to ask models: requests, journal, limits, budgets; for generation, judging and evaluation."""
