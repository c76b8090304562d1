"""Downstream tasks: what a frozen model is judged by.

A new one is one file here and one line below; `contract.py` says what it holds.
"""

from slvr.command.named import Registry

FEW_SHOT = "few-shot"
"""The task that needs no sub-command."""

TASKS: Registry = {
    FEW_SHOT: "slvr.eval.tasks.few_shot:FewShot",
    "invariance": "slvr.eval.tasks.invariance:Invariance",
    "weights": "slvr.eval.tasks.weights:Weights",
    "probe": "slvr.eval.tasks.probe:Probe",
    "retrieve": "slvr.eval.tasks.retrieve:Retrieve",
}
"""Name of the sub-command -> its task."""
