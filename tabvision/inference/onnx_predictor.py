"""Ask an exported model: raw rows in, the user's own labels out, with neither torch nor Lightning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.errors import BadTypeError, BadValueError, listed, speaking
from tabvision.inference.answers import answer_frame, check_facts, check_finite, with_errors
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.files import Origin, name_of, read_bytes
from tabvision.inference.inputs import ATTRIBUTE, InputReader, Inputs, Rows
from tabvision.schema import Schema

if TYPE_CHECKING:
    from tabvision.inference.images import Pictures

KEY = "tabvision"  # of the facts among a file's metadata
EXPORT_FORMAT = 1
OLDEST_FORMAT = 1
BATCH_SIZE = 2048
PICTURES = 64  # of them at once, at most
EXPORT_AGAIN = "Export it again: tabvision export CKPT --out model.onnx"
_DTYPES = {"continuous": np.float32, "categorical": np.int64, "image": np.uint8}


@final
class OnnxPredictor:
    """Answers raw rows from a file that `tabvision export` wrote, as `Predictor` does from the checkpoint.

    Safe to share between threads: it changes nothing once built.

    Args:
        path: An .onnx file: its path, an http or https address, or its bytes.
        threads: Threads for one batch; None leaves it to onnxruntime, which takes one a core.

    Raises:
        MissingFileError: No such file.
        BadTypeError: A model that tabvision did not export.
        BadValueError: No model, a damaged one, one of a newer format, or onnxruntime is not installed.
    """

    @speaking()
    def __init__(self, path: Origin, *, threads: int | None = None) -> None:
        content, name = read_bytes(path, kind=".onnx"), name_of(path)
        self._session = _session(content, name, threads)
        self.facts = _facts(self._session, name)
        self.schema = Schema.from_dict(self.facts["schema"])
        self.calibration = Calibration.from_dict(self.facts.get("calibration", {}), self.schema.task)
        width = len(self.schema.classes) if self.schema.task.is_classes else self.schema.task.num_outputs
        check_facts(self.schema, width, name)
        self._names = _input_names(self._session, self.schema, name)
        self._read = InputReader(self.schema)
        self._pictures = self._picture_reader()

    @speaking()
    def predict(self, source: Rows | Pictures, *, proba: bool = True, batch_size: int = BATCH_SIZE) -> pd.DataFrame:
        """A frame of answers, in the order and with the index of the input.

        Args:
            source: A frame, one row as a dict, a list of such rows, or the path of a table file; for pictures what
                `Predictor` takes.
            proba: Whether to add the probabilities, or for numbers the intervals.
            batch_size: Rows that go through the network at once, at least 1.

        Raises:
            MissingColumnsError: A column that training had is not there.
            TabvisionError: Anything else that is wrong with the rows.
        """
        _check_batch_size(batch_size)
        if self._pictures is not None:
            return self._of_pictures(self._pictures(source), proba=proba, batch_size=batch_size)
        inputs = self._read(source)
        answers = answer_frame(self.schema, self._run(inputs, batch_size), proba=proba, calibration=self.calibration)
        if inputs.index is not None:
            answers.index = inputs.index
        answers.attrs[ATTRIBUTE] = dict(inputs.unseen)
        return answers

    def _picture_reader(self) -> Any:  # noqa: ANN401 - imported only where there are pictures
        if self.schema.image is None:
            return None
        from tabvision.augment.settings import augmentation_named
        from tabvision.inference.images import PictureInputs

        return PictureInputs(self.schema, augmentation_named("none"))

    def _of_pictures(self, asked: Any, *, proba: bool, batch_size: int) -> pd.DataFrame:  # noqa: ANN401 - likewise
        from tabvision.inference.images import draw_pictures

        errors: dict[int, str] = {}
        chunks, size = [], min(batch_size, PICTURES)
        for start in range(0, max(1, asked.num_rows), size):
            pixels, found = draw_pictures(asked.sources[start : start + size], asked.image)
            chunks.append(asked.in_user_units(self.schema.task, self._ask({"image": pixels}), start, found))
            errors |= {start + place: reason for place, reason in found.items()}
        answers = answer_frame(self.schema, np.concatenate(chunks), proba=proba, calibration=self.calibration)
        for place, (name, values) in enumerate(asked.shown.items()):
            answers.insert(place, name, values)
        answers = with_errors(answers, errors)
        if asked.index is not None:
            answers.index = asked.index
        return answers

    def _run(self, inputs: Inputs, batch_size: int) -> NDArray[Any]:
        chunks = []
        for start in range(0, max(1, inputs.num_rows), batch_size):
            part = inputs.part(start, start + batch_size)
            fed = {name: part[name].astype(_DTYPES[name], copy=False) for name in self._names}
            chunks.append(self._ask(fed))
        return np.concatenate(chunks)

    def _ask(self, fed: dict[str, NDArray[Any]]) -> NDArray[Any]:
        try:
            found: NDArray[Any] = self._session.run(None, fed)[0]
        except Exception as error:  # onnxruntime raises classes of its own
            raise BadValueError(f"the model failed ({type(error).__name__})", EXPORT_AGAIN) from error
        rows, width = len(fed[self._names[0]]), len(self.schema.classes) or self.schema.task.num_outputs
        if found.shape != (rows, width) or found.dtype.kind != "f":
            problem = f"the model answers in shape {found.shape} of {found.dtype}, which is not what its schema says"
            raise BadValueError(problem, EXPORT_AGAIN)
        return check_finite(found)


def _session(content: bytes, name: str, threads: int | None) -> Any:  # noqa: ANN401 - onnxruntime's own class
    try:
        import onnxruntime  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        remedy = "Install it: pip install 'tabvision[export]', or onnxruntime alone"
        raise BadValueError("an exported model needs onnxruntime, which is not installed", remedy) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    options.intra_op_num_threads = threads or 0
    try:  # from the bytes, so that a file cannot name others beside it
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime raises classes of its own, one for each kind of damage
        problem = f"{name} is damaged or no ONNX model ({type(error).__name__})"
        raise BadValueError(problem, EXPORT_AGAIN) from error


def _input_names(session: Any, schema: Schema, name: str) -> list[str]:  # noqa: ANN401 - onnxruntime's own class
    has = {"continuous": schema.continuous, "categorical": schema.categorical, "image": schema.image}
    names = [value.name for value in session.get_inputs()]
    if not names or not all(has.get(value) for value in names):
        problem = f"{name} takes {listed(names) or 'nothing'}, which is not what its schema says"
        raise BadValueError(problem, EXPORT_AGAIN)
    return names


def _facts(session: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - onnxruntime's own class
    try:
        facts = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    except (KeyError, ValueError, RecursionError) as error:  # text that is no UTF-8 as well
        raise BadTypeError(f"{name} was not exported by tabvision: it lacks its facts", EXPORT_AGAIN) from error
    if not isinstance(facts, dict) or not isinstance(facts.get("schema"), dict):
        raise BadTypeError(f"{name} was not exported by tabvision: its facts hold no schema", EXPORT_AGAIN)
    found = facts.get("format")
    if not isinstance(found, int) or isinstance(found, bool) or found > EXPORT_FORMAT:
        problem = f"{name} has format {found!r}, and {EXPORT_FORMAT} is the newest that this version reads"
        raise BadValueError(problem, "Update tabvision: pip install --upgrade tabvision")
    if found < OLDEST_FORMAT:
        problem = f"{name} has format {found}, and {OLDEST_FORMAT} is the oldest that this version reads"
        raise BadValueError(problem, EXPORT_AGAIN)
    return facts


def _check_batch_size(batch_size: object) -> None:
    check_whole("batch_size", batch_size, remedy="Pass such as 2048")
