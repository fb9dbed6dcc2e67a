"""A trained module as one file that runs without tabvision's modules: ONNX, or torch's own `.pt2`.

The file takes what a network reads (`continuous`, `categorical`, `image` as uint8) in batches of any size, and gives
predictions: normalization, calibration and activation are in it. Its facts, the schema above all, lie in its metadata.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from typing_extensions import override

from tabvision import __version__
from tabvision.batch import Batch
from tabvision.data.tables.write import check_destination, written_whole
from tabvision.errors import BadValueError, speaking
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.inference.files import Origin
from tabvision.inference.onnx_predictor import EXPORT_FORMAT, KEY
from tabvision.modules import SupervisedModule
from tabvision.schema import Schema

TOLERANCE = 1e-5  # of a probability, or of a number in units of its size and spread
CHECKED_ROWS = (1, 2, 7)
_DTYPES = {"continuous": torch.float32, "categorical": torch.int64, "image": torch.uint8}

Ask: TypeAlias = Callable[[dict[str, Tensor]], NDArray[Any]]


@final
@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: The file.
        num_bytes: Its size.
        largest_error: Between its answers and the module's on random rows, as `export` measured it.
    """

    path: Path
    num_bytes: int
    largest_error: float


@speaking("export")
def export(
    source: Origin | SupervisedModule,
    out: str | Path,
    *,
    overwrite: bool = False,
    **own: Any,  # noqa: ANN401 - a network, a task, a function
) -> Exported:
    """Write a trained module as one file, and check on random rows that the file answers as the module does.

    Args:
        source: A checkpoint (path, http or https address, bytes), with its calibration; or a module.
        out: The file, ending in .onnx or .pt2.
        overwrite: Whether a file that is there may be replaced.
        own: Pieces of your own that no checkpoint holds, as for `Predictor`.

    Raises:
        MissingFileError: No such checkpoint, or no folder to write to.
        BadTypeError: The source is no checkpoint of a tabvision module.
        BadValueError: Another suffix, a file that is there, a module that cannot be traced, or a file whose answers
            would differ; it is not left behind.
    """
    path = check_destination(out, suffixes=list(_WRITERS), overwrite=overwrite)
    if isinstance(source, SupervisedModule) and not own:
        module, calibration = source, Calibration()
    else:
        opened = open_checkpoint(source, **own)
        module, calibration = opened.module, opened.calibration
    with written_whole(path) as partial, _evaluating(module):
        net = _Answering(module, calibration)
        _WRITERS[path.suffix.lower()](_traced(net), partial, net.facts())
        error = _largest_error(net, _ASKERS[path.suffix.lower()](partial))
        if not error <= TOLERANCE:
            problem = f"the file's answers differ from the module's by {error:.2g}, more than {TOLERANCE:g}"
            raise BadValueError(problem, "Use the checkpoint with Predictor; and please report it")
    return Exported(path, path.stat().st_size, error)


@final
class _Answering(nn.Module):
    """A module from the arrays of its inputs, in the order of `names`, to calibrated and activated predictions."""

    def __init__(self, module: SupervisedModule, calibration: Calibration) -> None:
        super().__init__()
        self.module, self.calibration = module, calibration
        self.names = _input_names(module.schema)

    @override
    def forward(self, *arrays: Tensor) -> Tensor:
        rows, device = arrays[0].shape[0], arrays[0].device
        batch: Any = {name: torch.zeros(rows, 0, dtype=_DTYPES[name], device=device) for name in _TABLE}
        batch |= dict(zip(self.names, arrays, strict=True))
        given: Batch = batch
        return self.module.task.activate(self.calibration.scale(self.module(given).float()))

    def facts(self) -> str:
        """What a reader of the file must know, as JSON."""
        facts = {
            "format": EXPORT_FORMAT,
            "version": __version__,
            "torch": str(torch.__version__),
            "module": type(self.module).__name__,
            "inputs": self.names,
            "schema": self.module.schema.to_dict(),
            "calibration": self.calibration.to_dict(),
        }
        return json.dumps(facts)


_TABLE = ("continuous", "categorical")


@speaking("export")
def _input_names(schema: Schema) -> list[str]:
    """The arrays that a network of this schema reads.

    Raises:
        BadValueError: None at all.
    """
    used = {
        "continuous": schema.continuous,
        "categorical": schema.categorical,
        "image": schema.image is not None,
    }
    names = [name for name, there in used.items() if there]
    if not names:
        raise BadValueError("the module reads no column and no image", "Train it on data with inputs")
    return names


def _random_inputs(schema: Schema, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Arrays such as the network of this schema may get, missing and unseen categories among them."""
    made: dict[str, Tensor] = {}
    if schema.continuous:
        made["continuous"] = 2 * torch.randn(rows, len(schema.continuous), generator=generator)
    if schema.categorical:
        codes = [torch.randint(column.cardinality, (rows,), generator=generator) for column in schema.categorical]
        made["categorical"] = torch.stack(codes, dim=1)
    if schema.image is not None:
        shape = (rows, 3, *schema.image.size)
        made["image"] = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return made


@contextmanager
def _evaluating(module: SupervisedModule) -> Iterator[None]:
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was)


def _traced(net: _Answering) -> ExportedProgram:
    example = _random_inputs(net.module.schema, 2, torch.Generator().manual_seed(0))
    arrays = tuple(example[name].to(net.module.device) for name in net.names)
    rows = Dim("rows")
    try:
        program = torch.export.export(net, arrays, dynamic_shapes=(tuple({0: rows} for _ in arrays),), strict=False)
    except Exception as error:  # torch raises whatever the part that it cannot trace leads to
        problem = f"{type(net.module).__name__} cannot be traced ({str(error).strip().splitlines()[0].rstrip('.')})"
        raise BadValueError(problem, "Its forward must be tensor operations on the batch alone") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it would tell where this machine keeps its files
    return program


def _write_onnx(program: ExportedProgram, path: Path, facts: str) -> None:
    try:
        import onnx  # noqa: F401 - torch asks for it in a sentence of its own, deep down
        import onnxruntime  # type: ignore[import-untyped]  # noqa: F401 - to check what was written
        import onnxscript  # noqa: F401
    except ImportError as error:
        problem = f"writing ONNX needs {error.name}, which is not installed"
        raise BadValueError(problem, "Install it: pip install 'tabvision[export]'") from error
    names = json.loads(facts)["inputs"]
    written: Any = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=names, output_names=["predictions"]
    )
    for node in written.model.graph.all_nodes():
        node.metadata_props.clear()  # how torch came to the node: larger than a small net's weights
    written.model.metadata_props[KEY] = facts
    written.save(path)


def _write_pt2(program: ExportedProgram, path: Path, facts: str) -> None:
    with warnings.catch_warnings():  # torch doubts weights in channels-last memory; the answers are checked afterwards
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        torch.export.save(program, path, extra_files={KEY: facts})


def _ask_onnx(path: Path) -> Ask:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def ask(arrays: dict[str, Tensor]) -> NDArray[Any]:
        answers: NDArray[Any] = session.run(None, {name: array.numpy() for name, array in arrays.items()})[0]
        return answers

    return ask


def _ask_pt2(path: Path) -> Ask:
    net = torch.export.load(path).module()

    def ask(arrays: dict[str, Tensor]) -> NDArray[Any]:
        device = next((weights.device for weights in net.parameters()), torch.device("cpu"))
        answers: NDArray[Any] = net(*(array.to(device) for array in arrays.values())).cpu().numpy()
        return answers

    return ask


_WRITERS: dict[str, Callable[[ExportedProgram, Path, str], None]] = {".onnx": _write_onnx, ".pt2": _write_pt2}
_ASKERS: dict[str, Callable[[Path], Ask]] = {".onnx": _ask_onnx, ".pt2": _ask_pt2}


def _largest_error(net: _Answering, ask: Ask) -> float:
    """The largest difference from the module's own answers, numbers in units of their size and spread."""
    generator = torch.Generator().manual_seed(1)
    task, errors = net.module.task, []
    for rows in CHECKED_ROWS:
        inputs = _random_inputs(net.module.schema, rows, generator)
        expected = net(*(inputs[name].to(net.module.device) for name in net.names)).cpu().numpy()
        size: Any = 0.0 if task.is_classes else np.abs(expected)
        errors.append(np.abs(ask(inputs) - expected) / (task.prediction_scale + size))
    return float(np.concatenate([error.ravel() for error in errors]).max())
