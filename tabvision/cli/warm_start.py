"""`tabvision train --from CKPT`: go on with a trained network, which grows by what the new rows add."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tabvision.cli.jobs import Job
from tabvision.errors import BadValueError, speaking
from tabvision.inference import Predictor

_WHO = "tabvision train"
_OF_TABLE = ("categorical", "continuous", "dates", "ignore", "task", "separator", "na_values")
_OF_SCHEMA = (
    *_OF_TABLE,
    "size",
    "resize",
    "channels",
    "value_range",
    "y_range",
)  # what a schema decides


def warm_started(job: Job, checkpoint: str) -> Job:
    """Return the run that starts from a checkpoint.

    Args:
        job: The run as it would start anew.
        checkpoint: The file.

    Raises:
        BadValueError: The checkpoint is of another kind of data, or an option would build another network.
    """
    if job.num_folds > 1:
        raise BadValueError(_WHO, "--preset best trains new networks, got --from as well", "Leave one of the two out")
    with speaking(_WHO):
        known = Predictor(checkpoint).module
        kind = job.model.class_path.rpartition(".")[2]
        if type(known).__name__ != kind:
            problem = f"{checkpoint} holds a {type(known).__name__}, and these rows are for a {kind}"
            raise BadValueError(problem, "Name a checkpoint of such rows, or leave --from out")
        settings = {name: value for name, value in job.model.init_args.items() if name != "lr"}
        if fixed := [name for name, value in settings.items() if known.hparams.get(name, value) != value]:
            problem = f"--{fixed[0].replace('_', '-')} builds another network than the one in {checkpoint}"
            raise BadValueError(problem, "Leave it out, or leave --from out")
        module = known.grow(job.datamodule.schema)
        if job.monitor == "oof/loss" and getattr(module, "fold_members", 1) < 2:
            problem = f"the network in {checkpoint} cannot hold rows out for itself"
            raise BadValueError(problem, "Hold some out: --validation 0.2")
        data: dict[str, Any] = {name: value for name, value in job.data.init_args.items() if name not in _OF_SCHEMA}
        part = replace(job.data, init_args={**data, "schema": module.schema})
        if "lr" in job.model.init_args:
            module.hparams["lr"] = job.model.init_args["lr"]
        return replace(job, data=part, datamodule=part.build(), module=module)
