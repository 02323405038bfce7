"""Tasks without a model: families with computed answers. Free, the same each time, and no substitute for a model's."""
