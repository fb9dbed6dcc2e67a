"""Share a run on the Hugging Face hub, with a model card; `Predictor("hf://user/model")` loads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tabvision import __version__
from tabvision.errors import BadValueError, MissingFileError, count, shown, speaking
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.schema import Schema

_LINK = "[tabvision](https://pypi.org/project/tabvision/)"
_METRICS = ("metrics.json", "metrics.csv")


@speaking("push")
def push(run: str | Path, repo: str, *, private: bool = False, license: str | None = None) -> str:  # noqa: A002 - the hub's word
    """Upload a run's best network, metrics and recipe with a model card, and return the address for `Predictor`.

    Rows, predictions and the report are not uploaded; paths in the recipe are reduced to file names.

    Args:
        run: The folder that `tabvision train` wrote.
        repo: The repository, "user/model"; created if it does not exist, otherwise it gets a new commit.
        private: Whether a new repository is private.
        license: The license of the network, such as "apache-2.0"; None for none.

    Raises:
        MissingFileError: The folder has no best.ckpt.
        BadValueError: The checkpoint cannot be loaded, or the hub rejects the upload.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    files = files_to_push(run, repo, license=license)
    api = HfApi(library_name="tabvision", library_version=__version__)
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repo, operations, commit_message=f"Upload with tabvision {__version__}")
    except Exception as error:  # no network, no token, or an invalid repository name
        if isinstance(error, errors.HfHubHTTPError) and getattr(error.response, "status_code", None) in (401, 403):
            problem = f"writing to {repo} on the hub needs a token of its owner"
            remedy = "Log in: hf auth login, or set HF_TOKEN to a token that may write"
        else:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            problem = f"{repo} could not be uploaded ({reason:.300})"
            remedy = "Check the name, the network and your token"
        raise BadValueError(problem, remedy) from error
    return f"hf://{repo}"


@speaking("push")
def files_to_push(run: str | Path, repo: str, *, license: str | None = None) -> dict[str, bytes]:  # noqa: A002
    """Return the files that `push` uploads, by name."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        problem = f"the repository must be named USER/MODEL, got {repo!r}"
        raise BadValueError(problem, "Write your name on the hub before the name of the model")
    folder = Path(run).expanduser()
    best = folder / "best.ckpt"
    if not best.is_file():
        raise MissingFileError(f"{str(folder)!r} holds no best.ckpt", "Pass the folder of a run, such as runs/people")
    opened = open_checkpoint(best)
    files = {name: (folder / name).read_bytes() for name in _METRICS if (folder / name).is_file()}
    recipe = folder / "recipe.yaml"
    try:
        facts = dict(json.loads(files.get("metrics.json", "{}")))
        if recipe.is_file():
            plain = _without_folders(yaml.safe_load(recipe.read_bytes()))
            files["recipe.yaml"] = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode()
    except (TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        problem = f"metrics.json or recipe.yaml in {str(folder)!r} is damaged ({error})"
        raise BadValueError(problem, "Restore it, or train again") from error
    facts.setdefault("network", type(opened.module).__name__)
    card = model_card(opened.module.schema, facts, repo, license=license, has_recipe="recipe.yaml" in files)
    return {"README.md": card.encode(), "best.ckpt": best.read_bytes(), **files}


def _without_folders(plain: Any) -> Any:  # noqa: ANN401 - plain data
    """Return plain data with absolute paths, which reveal things about a machine, replaced by file names.

    Example:
        >>> _without_folders({"source": "/home/ann/people.csv", "target": "paid"})
        {'source': 'people.csv', 'target': 'paid'}
    """
    if isinstance(plain, Mapping):
        return {key: _without_folders(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [*map(_without_folders, plain)]
    return Path(plain).name if isinstance(plain, str) and Path(plain).is_absolute() else plain


def model_card(
    schema: Schema,
    facts: Mapping[str, Any],
    repo: str,
    *,
    license: str | None = None,  # noqa: A002
    has_recipe: bool = False,
) -> str:
    """Return a model card: what the network is, its data, metrics and limits, and how to use it.

    Args:
        schema: The schema of the network.
        facts: The contents of the run's metrics.json, as far as known.
        repo: The repository, "user/model".
        license: The license of the network, or None.
        has_recipe: Whether the repository has the recipe.
    """
    target = ", ".join(map(_code, schema.target.columns))
    classes = f": {', '.join(map(_code, schema.classes[:20]))}" if schema.classes else ""
    source = "an image" if schema.is_of_images else "columns and images" if schema.image else "the columns of a table"
    metrics: Mapping[str, Any] = facts.get("metrics", {})
    predicts = (
        f"It predicts {target} ({schema.task.name}{classes}{', …' if len(schema.classes) > 20 else ''}) from {source}."
    )
    rows = [count(schema.target.num_rows, "training and validation row")] if schema.target.num_rows else []
    data = ", ".join([*([_code(facts["data"])] if facts.get("data") else []), *rows]) or "Not recorded"
    repeat = []
    if has_recipe:
        after = "linear heads of photos, intervals, a refit"
        repeat = [f"`recipe.yaml` repeats the fit on the same data, without what follows a fit: {after}."]
    parts = [
        _header(schema, facts, repo, license),
        f"# {repo}",
        f"A {_plain(facts.get('network', 'network'))}, trained with {_LINK} {__version__}. {predicts}",
        "## Data",
        f"{data}. The columns it reads:",
        _table(
            ("column", "read as", "training rows"), [(_code(name), *_reading(schema, name)) for name in schema.inputs]
        ),
        "## Metrics",
        *([_metrics_table(metrics)] if metrics else ["None were recorded."]),
        *repeat,
        "## Limits",
        _LIMITS.format(unlike=_UNLIKE_IMAGES if schema.is_of_images else _UNLIKE_ROWS),
        "## How to use it",
        (_HOW_IMAGES if schema.is_of_images else _HOW_ROWS).format(repo=repo),
    ]
    return "\n\n".join(parts) + "\n"


_LIMITS = """- The metrics were measured on rows like the training rows, and say little about rows from elsewhere or later.
- {unlike}
- Whether it is equally accurate for different groups of people was not measured."""

_UNLIKE_ROWS = """Predictions for unseen categories, and for numbers or dates outside the training range, are not reliable;
  `tabvision predict --strict` rejects such rows."""
_UNLIKE_IMAGES = "It also predicts for images unlike the training images, without a warning."

_HOW_ROWS = """```bash
pip install tabvision
tabvision predict hf://{repo} new_rows.csv --out answers.csv
```

```python
from tabvision.inference import Predictor

Predictor("hf://{repo}").predict("new_rows.csv")  # or a frame, a dict, a list of dicts
```

The checkpoint is loaded as plain data: it contains no code that could run."""


_HOW_IMAGES = _HOW_ROWS.replace("new_rows.csv", "photos").replace(
    "a frame, a dict, a list of dicts", "a path, an array"
)


def _header(schema: Schema, facts: Mapping[str, Any], repo: str, license: str | None) -> str:  # noqa: A002
    """Return the YAML block that the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    kind = "classification" if schema.task.is_classes else "regression"
    tag = f"image-{kind}" if schema.is_of_images else f"tabular-{kind}"
    results = [
        EvalResult(
            task_type=tag,
            dataset_type="images" if schema.is_of_images else "table",
            dataset_name=str(facts.get("data") or "not recorded"),
            dataset_split=str(title),
            metric_type=str(name),
            metric_value=value["model"],
        )
        for title, metrics in facts.get("metrics", {}).items()
        for name, value in metrics.items()
        if value["model"] is not None
    ]
    data = ModelCardData(
        library_name="tabvision",
        license=license,
        pipeline_tag=tag if tag != "image-regression" else None,  # not a tag of the hub
        tags=["tabvision", "pytorch-lightning"],
        model_name=repo,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _reading(schema: Schema, name: str) -> tuple[str, str]:
    """Return how a raw column is read and a summary of its training values, without the values of categories."""
    if schema.image is not None and name in schema.image.columns:
        height, width = schema.image.size
        return "image", f"{height} x {width} pixels"
    for date in schema.dates:
        if date.name == name:
            return "date", f"{date.first} to {date.last}" if date.first else ""
    for column in schema.categorical:
        if column.source == name and column.part is None:
            return "category", count(len(column.vocabulary), "value")
    for number in schema.continuous:
        if number.source == name:
            return "number", "" if number.low is None else f"{number.low:.6g} to {number.high:.6g}"
    return "number", ""


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    rows = [
        (
            _plain(title),
            _plain(name),
            *(f"{value[who]:.4g}" if value[who] is not None else "" for who in ("model", "naive")),
        )
        for title, found in metrics.items()
        for name, value in found.items()
    ]
    return _table(("rows", "metric", "model", "naive prediction"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: object) -> str:
    """Return text with Markdown and HTML escaped.

    Example:
        >>> _plain("a|b <c>")
        'a&#124;b &#60;c&#62;'
    """
    return "".join(f"&#{ord(each)};" if each in "|<>&*_`[]\\\\" else each for each in shown(str(text)))


def _code(text: object) -> str:
    return f"<code>{_plain(text)}</code>"
