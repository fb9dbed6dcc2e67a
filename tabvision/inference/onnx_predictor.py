"""Predict raw rows with an exported model, in the user's own labels, with neither torch nor Lightning."""

from __future__ import annotations

import functools
import json
from typing import Any, Unpack, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadTypeError, BadValueError, listed, speaking
from tabvision.inference.answers import assemble_answers
from tabvision.inference.batches import Arrays, Inputs, input_names, predict_all
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.files import Origin, check_facts, check_format, origin_name, read_bytes
from tabvision.inference.inputs import InputReader, Source
from tabvision.schema import Schema
from tabvision.tasks import Task, own_task

KEY = "tabvision"  # the key of our facts in a file's metadata
OUTPUTS = ("predictions", "deviations")  # the second only for a network with several members
EXPORT_FORMAT = 1
OLDEST_FORMAT = 1
_REEXPORT = "Export it again: tabvision export CKPT --out model.onnx"
_DTYPES = {"continuous": np.float32, "categorical": np.int64, "image": np.uint8, "has_image": np.float32}


@final
class OnnxPredictor:
    """Predict raw rows with a file that `tabvision export` wrote, as `Predictor` does with the checkpoint.

    It is safe to share between threads, since it has no mutable state, and can be pickled for worker processes.

    Args:
        path: An .onnx file: its path, an http or https URL, or its bytes.
        threads: Threads for one batch; None for the default of onnxruntime, one for each core.
        task: The class of your own task, which a file cannot hold; None for a task of tabvision.

    Raises:
        MissingFileError: The file does not exist.
        BadTypeError: The model was not exported by tabvision.
        BadValueError: The file is not a model, is damaged or has a newer format, or onnxruntime is not installed.
    """

    @speaking()
    def __init__(self, path: Origin, *, threads: int | None = None, task: Task | type[Task] | None = None) -> None:
        if threads is not None:
            check_whole("threads", threads, 0, remedy="Leave it out for one per core")
        content, name = read_bytes(path, kind=".onnx"), origin_name(path)
        self._session = _session(content, name, threads)
        self._content: bytes = content
        self._settings: dict[str, Any] = {"threads": threads, "task": task}
        try:
            self.facts = json.loads(self._session.get_modelmeta().custom_metadata_map[KEY])
        except (KeyError, ValueError, RecursionError) as error:  # ValueError also for text that is not UTF-8
            raise BadTypeError(f"{name} was not exported by tabvision: it lacks its facts", _REEXPORT) from error
        if not isinstance(self.facts, dict) or not isinstance(self.facts.get("schema"), dict):
            raise BadTypeError(f"{name} was not exported by tabvision: its facts hold no schema", _REEXPORT)
        check_format(self.facts.get("format"), OLDEST_FORMAT, EXPORT_FORMAT, name, _REEXPORT)
        with own_task(task):
            self.schema = Schema.from_dict(self.facts["schema"])
        self.calibration = Calibration.from_dict(self.facts.get("calibration", {}), self.schema.task)
        check_facts(self.schema, self.schema.task.num_predictions, name)
        self._names = [value.name for value in self._session.get_inputs()]
        if not self._names or not {*self._names} <= {*input_names(self.schema)}:
            problem = f"{name} has the inputs {listed(self._names) or 'none'}, which do not match its schema"
            raise BadValueError(problem, _REEXPORT)
        self._read = InputReader(self.schema)

    @speaking()
    def read(self, source: Source, **form: Unpack[TextFormat]) -> Inputs:
        """Return the inputs of the model for a source, to pass to `predict`; see `Predictor.read`."""
        return self._read(source, **form)

    @speaking()
    def predict(
        self, source: Source | Inputs, *, proba: bool = True, uncertainty: bool = False, batch_size: int | None = None
    ) -> pd.DataFrame:
        """Return a frame of answers, in the order and with the index of the input.

        Args:
            source: Rows, images or both, as for `Predictor.predict`.
            proba: Whether to add the probabilities, or for numbers the intervals.
            uncertainty: Whether to add how much the network's members differ; see `Predictor.predict`.
            batch_size: Rows in a batch of the network; None for 2,048 rows of a table or 64 images.

        Raises:
            MissingColumnsError: A column of the training rows is missing.
            BadValueError: The uncertainty was requested, but the file's network has a single member.
            TabvisionError: The rows are invalid in another way.
        """
        if batch_size is not None:
            check_whole("batch_size", batch_size, remedy="Pass a number such as 64")
        if uncertainty and OUTPUTS[1] not in (output.name for output in self._session.get_outputs()):
            problem = "the uncertainty is how much the members of a network differ, and this file does not contain it"
            raise BadValueError(problem, f"If the network has several members: {_REEXPORT}")
        inputs = source if isinstance(source, Inputs) else self._read(source)
        settings: dict[str, Any] = {"num_answers": self.schema.task.num_predictions, "batch_size": batch_size}
        predictions = predict_all(self._predict_batch, inputs, **settings)
        deviations = predict_all(lambda arrays: self._run(arrays, 1), inputs, **settings) if uncertainty else None
        return assemble_answers(self.schema, inputs, predictions, self.calibration, proba=proba, deviations=deviations)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle for worker processes as the file's bytes, since onnxruntime's session cannot be pickled."""
        return functools.partial(OnnxPredictor, **self._settings), (self._content,)

    def _predict_batch(self, arrays: Arrays) -> NDArray[Any]:
        found = self._run(arrays, 0)
        in_user_units: NDArray[Any] = self.schema.task.in_user_units(found, arrays.get("view"))
        return in_user_units.astype(found.dtype, copy=False)

    def _run(self, arrays: Arrays, output: int) -> NDArray[Any]:
        """Return one of the model's outputs for a batch."""
        fed = {name: np.ascontiguousarray(arrays[name], _DTYPES[name]) for name in self._names}
        try:
            found: NDArray[Any] = self._session.run(None, fed)[output]
        except Exception as error:  # onnxruntime has its own error classes
            raise BadValueError(f"the model failed ({type(error).__name__})", _REEXPORT) from error
        if found.shape != (len(arrays["index"]), self.schema.task.num_predictions) or found.dtype.kind != "f":
            problem = f"the model returned {found.dtype} of shape {found.shape}, which does not match its schema"
            raise BadValueError(problem, _REEXPORT)
        return found


def _session(content: bytes, name: str, threads: int | None) -> Any:  # noqa: ANN401 - onnxruntime's own class
    try:
        import onnxruntime  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        remedy = "Install it: pip install 'tabvision[export]', or onnxruntime alone"
        raise BadValueError("an exported model needs onnxruntime, which is not installed", remedy) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to others
    try:  # from the bytes, so that the file cannot refer to other files
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime has an error class for each kind of damage
        raise BadValueError(f"{name} is damaged or not an ONNX model ({type(error).__name__})", _REEXPORT) from error
