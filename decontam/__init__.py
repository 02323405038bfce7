"""Exact decontamination: which training rows overlap which evaluation instances, and by how much."""
