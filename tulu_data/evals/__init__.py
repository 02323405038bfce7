"""The evaluation suite: the paper's tasks on lm-evaluation-harness, scored by the verifiers that train and filter."""
