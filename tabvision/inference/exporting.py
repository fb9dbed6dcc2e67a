"""Export a trained module as one file that runs without tabvision's modules: ONNX, or torch's own `.pt2`.

The file takes the inputs of the network (`continuous`, `categorical`, `image` as uint8) in batches of any size and returns
predictions, including normalization, calibration and activation. For a network with several members, an ONNX file also
returns the standard deviation over members. The schema and other facts are in the file's metadata.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
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
from tabvision.data.tables.text_file import first_line
from tabvision.data.tables.write import check_destination, interrupts_held, written_whole
from tabvision.errors import BadValueError, speaking
from tabvision.inference.batches import input_names
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.inference.files import Origin
from tabvision.inference.onnx_predictor import EXPORT_FORMAT, KEY, OUTPUTS
from tabvision.inference.predictor import DTYPES, TABLE_INPUTS
from tabvision.modules import SupervisedModule
from tabvision.nets.layers import evaluating
from tabvision.schema import Schema

_TOLERANCE = 1e-5  # absolute for a probability, relative to size and std for a number
_CHECKED_ROWS = (1, 2, 7)

_Network: TypeAlias = Callable[[dict[str, Tensor]], NDArray[Any]]


@final
@dataclass(frozen=True)
class _Exported:
    """The file that `export` wrote.

    Args:
        path: The file.
        num_bytes: Its size.
        largest_error: The largest difference between its answers and the module's on random rows.
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
) -> _Exported:
    """Write a trained module as one file, and check on random rows that the file returns the module's answers.

    Args:
        source: A checkpoint (path, http or https URL, bytes), with its calibration; or a module.
        out: The file, ending in .onnx or .pt2.
        overwrite: Whether to replace an existing file.
        own: Your own objects, which a checkpoint cannot hold, as for `Predictor`.

    Raises:
        MissingFileError: The checkpoint or the folder to write to does not exist.
        BadTypeError: The source is not a checkpoint of a tabvision module.
        BadValueError: The suffix is wrong, the file exists, the module cannot be traced, or the answers differ. No file is
            written.
    """
    path = check_destination(out, suffixes=list(_FORMATS), overwrite=overwrite, reads=[source])
    if isinstance(source, SupervisedModule) and not own and source.device.type == "cpu":
        module, calibration = source, Calibration()
    else:
        opened = open_checkpoint(source, **own)
        module, calibration = opened.module.cpu(), opened.calibration  # a file traced on a GPU would need a GPU
    with written_whole(path) as partial, evaluating(module), torch.no_grad():
        write, load = _FORMATS[path.suffix.lower()]
        net = _ExportedNetwork(module, calibration, deviations=write is _write_onnx)
        write(net.traced(), partial, net.facts())
        error = net.largest_error(load(partial))
        if not error <= _TOLERANCE:
            problem = f"the file's answers differ from the module's by {error:.2g}, more than {_TOLERANCE:g}"
            raise BadValueError(problem, "Use the checkpoint with Predictor, and please report this")
    return _Exported(path, path.stat().st_size, error)


@final
class _ExportedNetwork(nn.Module):
    """A module that maps input arrays, in the order of `names`, to calibrated and activated predictions.

    With `deviations`, a network of several members also returns the standard deviation of their predictions.
    """

    def __init__(self, module: SupervisedModule, calibration: Calibration, *, deviations: bool) -> None:
        super().__init__()
        self.module, self.calibration, self.deviations = module, calibration, deviations
        self.names = input_names(module.schema)
        if not self.names:
            raise BadValueError("the module reads neither columns nor images", "Train it on data with inputs")

    @override
    def forward(self, *arrays: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        rows, device = arrays[0].shape[0], arrays[0].device
        batch: Any = {name: torch.zeros(rows, 0, dtype=DTYPES[name], device=device) for name in TABLE_INPUTS}
        batch |= dict(zip(self.names, arrays, strict=True))
        given: Batch = batch
        logits = self.module.member_logits(given).float()
        predictions = self._predictions(self.module.combine_members(logits))
        if not self.deviations or logits.shape[1] == 1:
            return predictions
        of_members = torch.stack([self._predictions(each) for each in logits.unbind(1)], dim=1)
        return predictions, of_members.std(1, correction=0)

    def _predictions(self, logits: Tensor) -> Tensor:
        return self.module.task.activate(self.calibration.scale(logits))

    def facts(self) -> str:
        """Return the facts that are needed to use the file, as JSON."""
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

    def traced(self) -> ExportedProgram:
        """Return the traced program, for batches of any size."""
        example = _random_inputs(self.module.schema, 2, torch.Generator().manual_seed(0))
        arrays = tuple(example[name].to(self.module.device) for name in self.names)
        rows = Dim("rows")
        try:
            program = torch.export.export(
                self, arrays, dynamic_shapes=(tuple({0: rows} for _ in arrays),), strict=False
            )
        except Exception as error:  # torch may raise any class for code that it cannot trace
            problem = f"{type(self.module).__name__} cannot be traced ({first_line(error)})"
            raise BadValueError(problem, "Its forward may use only tensor operations on the batch") from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it would reveal this machine's file paths
        return program

    def largest_error(self, network: _Network) -> float:
        """Return the largest difference of a network's answers from this module's; for numbers relative to size and std."""
        generator = torch.Generator().manual_seed(1)
        task, errors = self.module.task, []
        for rows in _CHECKED_ROWS:
            inputs = _random_inputs(self.module.schema, rows, generator)
            found = self(*(inputs[name].to(self.module.device) for name in self.names))
            expected = (found[0] if isinstance(found, tuple) else found).cpu().numpy()
            size: Any = 0.0 if task.is_classes else np.abs(expected)
            errors.append(np.abs(network(inputs) - expected) / (task.prediction_scale + size))
        return float(np.concatenate([error.ravel() for error in errors]).max())


def _random_inputs(schema: Schema, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return random inputs for a network of this schema, including missing and unseen categories."""
    made: dict[str, Tensor] = {}
    if schema.continuous:
        made["continuous"] = 2 * torch.randn(rows, len(schema.continuous), generator=generator)
    if schema.categorical:
        codes = [torch.randint(column.cardinality, (rows,), generator=generator) for column in schema.categorical]
        made["categorical"] = torch.stack(codes, dim=1)
    if schema.image is not None:
        columns = (len(schema.image.columns),) if schema.image.optional else ()
        shape = (rows, *columns, schema.image.channels, *schema.image.size)
        made["image"] = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        if columns:
            made["has_image"] = torch.randint(2, (rows, *columns), generator=generator).float()
    return made


def _write_onnx(program: ExportedProgram, path: Path, facts: str) -> None:
    try:
        import onnx  # noqa: F401 - torch would report its absence later and less clearly
        import onnxruntime  # type: ignore[import-untyped]  # noqa: F401 - to check the written file
        import onnxscript  # noqa: F401
    except ImportError as error:
        problem = f"writing ONNX needs {error.name}, which is not installed"
        raise BadValueError(problem, "Install it: pip install 'tabvision[export]'") from error
    names = {
        "input_names": json.loads(facts)["inputs"],
        "output_names": OUTPUTS[: len(program.graph_signature.user_outputs)],
    }
    written: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    for node in written.model.graph.all_nodes():
        node.metadata_props.clear()  # torch's record of each node's origin, which may exceed a small network's weights
    written.model.metadata_props[KEY] = facts
    written.save(path)


def _write_pt2(program: ExportedProgram, path: Path, facts: str) -> None:
    # torch warns about weights in channels-last memory; the answers are checked afterwards
    with warnings.catch_warnings(), interrupts_held():
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        content = io.BytesIO()  # writing to a path on a full disk would crash the process
        torch.export.save(program, content, extra_files={KEY: facts})
    path.write_bytes(content.getvalue())  # a copy: a view in the traceback of a full disk crashes Python 3.12.1


def _open_onnx(path: Path) -> _Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def predict(arrays: dict[str, Tensor]) -> NDArray[Any]:
        answers: NDArray[Any] = session.run(None, {name: array.numpy() for name, array in arrays.items()})[0]
        return answers

    return predict


def _open_pt2(path: Path) -> _Network:
    net = torch.export.load(path).module()

    def predict(arrays: dict[str, Tensor]) -> NDArray[Any]:
        device = next((weights.device for weights in net.parameters()), torch.device("cpu"))
        answers: NDArray[Any] = net(*(array.to(device) for array in arrays.values())).cpu().numpy()
        return answers

    return predict


_FORMATS: dict[str, tuple[Callable[[ExportedProgram, Path, str], None], Callable[[Path], _Network]]] = {
    ".onnx": (_write_onnx, _open_onnx),
    ".pt2": (_write_pt2, _open_pt2),
}
