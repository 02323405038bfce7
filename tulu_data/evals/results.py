"""A run of evaluations on the disk: what was asked, what came, what it scored, and under which rules.

    OUT/run.json                 the model, the backend, versions; for each task its digests, decoding, counts
    OUT/samples/TASK.parquet     a row for each response, in the order of items and samples

A task's file is written whole or not at all: a run that was stopped goes on with the tasks that are missing.
"""

from __future__ import annotations

import pyarrow as pa

SAMPLES = pa.schema(
    [
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("subset", pa.string()),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("messages", pa.string(), nullable=False),  # JSON: what was asked, turn by turn
        pa.field("truth", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("extracted", pa.string()),  # what the verifier took for the answer, where it says so
        pa.field("score", pa.float64()),  # 0 to 1; null where it could not be judged
        pa.field("reason", pa.string(), nullable=False),
        pa.field("logps", pa.list_(pa.float64()), nullable=False),
        pa.field("extra", pa.string(), nullable=False),  # JSON: the judge's reply, options, …
    ]
)
