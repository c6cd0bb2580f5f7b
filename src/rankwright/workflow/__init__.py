"""Assemble: what the command line calls, each stage in turn.

In: a config, models, data. Out: a run folder (`train`), or evaluations (`evaluate`).
"""

from rankwright.workflow.evaluations import Evaluations, evaluate
from rankwright.workflow.measuring import EvaluationData, Settings, read_evaluation_data
from rankwright.workflow.runs import RunResult, train

__all__ = ["EvaluationData", "Evaluations", "RunResult", "Settings", "evaluate", "read_evaluation_data", "train"]
