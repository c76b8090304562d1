"""The tasks that a sub-command of `evaluate` can name."""

from slvr.command.named import Registry

FEW_SHOT = "few-shot"
"""The task that needs no sub-command."""

TASKS: Registry = {
    FEW_SHOT: "slvr.eval.tasks.few_shot:FewShot",
    "invariance": "slvr.eval.tasks.invariance:Invariance",
    "weights": "slvr.eval.tasks.weights:Weights",
    "probe": "slvr.eval.tasks.probe:Probe",
    "retrieve": "slvr.eval.tasks.retrieve:Retrieve",
    "hear": "slvr.eval.tasks.hear:Hear",
    "events": "slvr.eval.tasks.events:SoundEvents",
    "pitch": "slvr.eval.tasks.pitch:Pitch",
}
"""Name of the sub-command -> its task."""
