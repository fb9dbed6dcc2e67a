"""Damage inputs in many ways and use each, in a process of its own.

WHAT is the path of a table file, or recipes, commands, bodies or exports. A signal ends the process, and the test. What
ends in anything but success or a sentence of ours, computes for longer than 10 s, or needs more than 1 GB beyond what the
imports hold, is printed.
"""

import contextlib
import copy
import io
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tabvision.cli import main as tabvision
from tabvision.data.tables.read import read_frame
from tabvision.errors import TabvisionError
from tabvision.logs import notes_at
from tests.made.commands import Forked

SECONDS, MOST_KIB = 10, 1 << 20
LONGEST_WAIT = 60  # seconds, on a machine that others use as well
SERVED = 3  # seconds that a server runs
Case = Callable[[random.Random], object]
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 3, 0.5, -2.5, 1e308, float("nan"), float("inf"), "", " ", "x", "é\u202e", "0", "1e-3",
    "1e-5:1e-3", "auto", "none.csv", "people.csv", ".", "\0", "a" * 300,
    [], [1], ["x", None], [[]], {}, {"x": 1}, {"class_path": "x"}, {"init_args": {}},
    {"class_path": "tabvision.callbacks.OneCycle"}, {"class_path": "tabvision.tasks.Binary", "init_args": {"x": 1}},
]  # fmt: skip
TRAIN = ["train", "people.csv", "--target", "paid", "--out", "new", "--overwrite"]
COMMANDS = [
    [*TRAIN, "--ignore", "job", "--validation", "0.5", "--lr", "1e-3", "--batch-size", "16", "--seed", "1"],
    [*TRAIN, "--task", "binary", "--categorical", "job", "--drop-missing-target", "--encoding", "utf-8", "--na", "x"],
    ["train", "photos", "--size", "8", "--body", "test_resnet", "--weights", "none", "--out", "new", "--overwrite"],
    ["train", "people.csv", "--user", "job", "--item", "age", "--out", "new", "--overwrite"],
    ["predict", "best.ckpt", "people.csv", "--out", "answers.csv", "--overwrite", "--keep", "job,age", "--device", "cpu"],
    ["calibrate", "best.ckpt", "people.csv", "--out", "new.ckpt", "--overwrite"],
    ["export", "best.ckpt", "--out", "net.pt2"],
    ["recommend", "best.ckpt", "--user", "cook", "-k", "3", "--min-pairs", "1", "--out", "found.csv"],
    ["check-images", "photos", "--out", "bad.csv", "--overwrite", "--channels", "3", "--workers", "1"],
    ["validate", "--config", "recipe.yaml", "--trainer.devices", "1"],
    ["serve", "best.ckpt", "--port", "0", "--host", "127.0.0.1", "--max-rows", "3", "--max-megabytes", "1", "--uncertainty"],
    ["demo", "tabular", "--out", "shown"],
]  # fmt: skip
ALWAYS = {"train": ["--epochs", "1", "--accelerator", "cpu", "--devices", "1", "--no-report"], "demo": ["--rows", "60"]}
ONE_STEP = ["accelerator=cpu", "devices=1", "num_nodes=1", "strategy=auto", "fast_dev_run=true"]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Some bits changed, a part cut out, doubled or overwritten, or the end missing."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    start = draw.randrange(len(data))
    stop = min(len(data), start + draw.choice([1, 4, 64, 1024]))
    match draw.randrange(8):
        case 0:
            del data[start:stop]
        case 1:
            data[start:start] = data[start:stop]
        case 2:
            data[start:stop] = bytes(draw.choice([0, 127, 255]) for _ in range(stop - start))
        case 3:
            del data[start:]
    return bytes(data)


def changed(data: Any, draw: random.Random) -> Any:
    """A copy of nested plain data in which some values are others or gone, or keys have another name."""
    data = copy.deepcopy(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        parents = [part for part in _parts(data) if part]
        if not parents:
            return data
        parent = draw.choice(parents)
        key = draw.choice(list(parent)) if isinstance(parent, dict) else draw.randrange(len(parent))
        match draw.randrange(6):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[draw.choice([f"{key}s", f"{key}"[1:], "x", "", 1, None])] = parent.pop(key)
            case 2:
                parent[key] = copy.deepcopy(draw.choice([*_parts(data)]))
            case _:
                parent[key] = copy.deepcopy(draw.choice(VALUES))
    return data


def _parts(data: Any) -> list[Any]:
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else None
    return [] if inner is None else [data, *(part for each in inner for part in _parts(each))]


def tables(path: Path) -> Iterator[Case]:
    content, file = path.read_bytes(), path.with_name(f"damaged{path.suffix}")

    def read(draw: random.Random) -> None:
        file.write_bytes(damaged(content, draw))
        with contextlib.suppress(TabvisionError), notes_at(verbose=False):
            frame = read_frame(file)
            for name in frame:
                frame[name].unique()

    yield read


def run(words: list[str]) -> str | None:
    """What is wrong about the end of a command, or None."""
    told, errors, ending = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(errors):
        try:
            ending = tabvision(words)
        except SystemExit as end:
            ending = end.code  # type: ignore[assignment]  # argparse's and Lightning's are numbers
    last = (errors.getvalue().strip().splitlines() or [""])[-1]
    if (
        ending not in (0, 1, 2, 130)
        or "Traceback" in errors.getvalue()
        or (ending and not last.startswith("tabvision"))
    ):
        return f"status {ending}, {last!r}"
    return None


@contextmanager
def run_folder() -> Iterator[dict[str, Any]]:
    """A working directory with a table, photos and a run; its recipe."""
    from tests.made.images import write_folder
    from tests.made.tables import people

    before = Path.cwd()
    os.environ |= {"HF_HUB_OFFLINE": "1", "https_proxy": "http://127.0.0.1:9"}  # no weights from the network
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            people(40).to_csv("people.csv", index=False)
            write_folder(Path("photos"), {"a": 3, "b": 3})
            words = ["train", "people.csv", "--target", "paid", "--epochs", "1", "--accelerator", "cpu", "--no-report"]
            assert run([*words, "--out", "run"]) is None
            Path("run/best.ckpt").rename("best.ckpt")
            recipe = yaml.safe_load(Path("run/recipe.yaml").read_text(encoding="utf-8"))
            Path("recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
            yield recipe
        finally:
            os.chdir(before)


@contextmanager
def recipes() -> Iterator[Case]:
    """Recipes with other keys and values, or with other bytes, for one step of a fit."""
    with run_folder() as recipe:
        trainer = [f"--trainer.{setting}" for setting in ONE_STEP]
        text = yaml.safe_dump(recipe, allow_unicode=True).encode()

        def fit(draw: random.Random) -> str | None:
            if draw.randrange(4):
                content = yaml.safe_dump(changed(recipe, draw), allow_unicode=True).encode("utf-8", "surrogatepass")
            else:
                content = damaged(text, draw)
            Path("damaged.yaml").write_bytes(content)
            wrong = run(["fit", "--config", "damaged.yaml", *trainer, *draw.choice([[], ["--safe"]])])
            return wrong and f"{wrong}\n{content.decode(errors='replace')}"

        yield fit


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Press Ctrl-C in the block, which a server takes as its end."""
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def commands() -> Iterator[Case]:
    """Command lines with words left out, doubled, replaced or in another order."""
    with run_folder():
        options = sorted({word for words in COMMANDS for word in words if word.startswith("-")})
        odd = [str(value) for value in VALUES if not isinstance(value, dict) and value != "\0"]
        odd += [
            "--",
            "-",
            "--help",
            "=",
            ",",
            '"',
            "[",
            "~",
            "photos",
            "best.ckpt",
            "recipe.yaml",
            "1_0",
            "\udcff",
            *options,
        ]

        def command(draw: random.Random) -> str | None:
            words = list(draw.choice(COMMANDS))
            for _ in range(draw.choice([0, 1, 1, 1, 2, 3])):
                place = draw.randrange(1, len(words))
                match draw.randrange(5):
                    case 0:
                        del words[place]
                    case 1:
                        words.insert(place, draw.choice(odd))
                    case 2:
                        words.append(words.pop(place))
                    case _:
                        words[place] = draw.choice(odd)
            words += ALWAYS.get(words[0], [])
            shutil.rmtree("shown", ignore_errors=True)
            with stopped_after(SERVED) if words[0] == "serve" else contextlib.nullcontext():
                wrong = run(words)
            return wrong and f"{wrong} {words}"

        yield command


@contextmanager
def bodies() -> Iterator[Case]:
    """Requests with other values, other bytes or other headers, for a model of tables and one of images."""
    from tests.made.images import encoded, pixels
    from tests.made.servers import Means, running
    from tests.made.trained import raw

    rows = json.loads(raw(4).to_json(orient="records"))
    boundary = b'--cut\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n'
    upload = boundary + b"Content-Type: image/png\r\n\r\n" + encoded(pixels(6, 4), "PNG") + b"\r\n--cut--\r\n"
    kinds = ["application/json", "multipart/form-data; boundary=cut"]
    odd = [*kinds, "application/json; charset=latin-1", "multipart/form-data", "text/plain"]
    with running() as of_tables, running(Means()) as of_images:

        def ask(draw: random.Random) -> str | None:
            content = draw.choice([json.dumps(rows).encode(), json.dumps(rows[0]).encode(), upload])
            content = damaged(content, draw) if draw.randrange(2) else json.dumps(changed(rows, draw)).encode()
            kind = kinds[content.startswith(b"--cut")] if draw.randrange(8) else draw.choice(odd)
            client = of_images if "cut" in kind and draw.randrange(8) else of_tables
            answer = client.post("/predict", content=content, headers={"Content-Type": kind})
            if answer.status_code == 200:
                return None if answer.json() else "an empty answer"
            told = answer.json().get("error", "")
            if (400 <= answer.status_code < 500 or answer.status_code == 503) and told.endswith("."):
                return None
            return f"status {answer.status_code}, {told!r}, {kind}, {content!r}"

        yield ask


@contextmanager
def exports() -> Iterator[Case]:
    """ONNX files with other bytes, other facts or another graph, asked a few rows."""
    import onnx

    from tabvision.inference import OnnxPredictor
    from tests.made.trained import exported, raw

    content, rows = exported("multiclass").read_bytes(), raw(3)
    model = onnx.load_from_string(content)
    facts = json.loads(next(entry.value for entry in model.metadata_props))

    def ask(draw: random.Random) -> None:
        changed_model = onnx.ModelProto()
        changed_model.CopyFrom(model)
        match draw.randrange(3):
            case 0:
                data = damaged(content, draw)
            case 1:
                changed_model.metadata_props[0].value = json.dumps(changed(facts, draw))
                data = changed_model.SerializeToString()
            case _:
                change_graph(changed_model.graph, draw)
                data = changed_model.SerializeToString()
        with contextlib.suppress(TabvisionError), notes_at(verbose=False):
            OnnxPredictor(data, threads=1).predict(rows)

    yield ask


def change_graph(graph: Any, draw: random.Random) -> None:
    """Other operators, wires, attributes, shapes or weights, or an operator that is gone."""
    for _ in range(draw.choice([1, 1, 2, 3])):
        if draw.randrange(2):
            change_weight(draw.choice(graph.initializer), draw)
            continue
        node = draw.choice(graph.node)
        match draw.randrange(4):
            case 0:
                node.op_type = draw.choice(["Add", "Loop", "If", "Reshape", "Expand", "Tile", "Range", "Nope", ""])
            case 1 if node.input:
                names = [name for each in graph.node for name in (*each.input, *each.output)]
                node.input[draw.randrange(len(node.input))] = draw.choice([*names, "", "x"])
            case 2:
                graph.node.remove(node)
            case _ if node.attribute:
                attribute = draw.choice(node.attribute)
                attribute.i, attribute.type = draw.choice([-1, 0, 1, 99, 1 << 40]), draw.choice([attribute.type, 2])


def change_weight(weight: Any, draw: random.Random) -> None:
    match draw.randrange(3):
        case 0:
            weight.dims[:] = [draw.choice([0, -1, 1, 3, 1 << 20, 1 << 40]) for _ in weight.dims]
        case 1:
            weight.raw_data = damaged(weight.raw_data or b"x", draw)
        case _:
            weight.data_type = draw.randrange(24)


KINDS = {"recipes": recipes, "commands": commands, "bodies": bodies, "exports": exports}


def main(what: str, seed: int, cases: int) -> None:
    """Print the cases that end in anything but success or a sentence."""
    make = KINDS.get(what, contextmanager(lambda: tables(Path(what))))
    with make() as use:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for case in range(cases):
            start, began = time.process_time(), time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    if wrong := use(random.Random(f"{seed} {case}")):
                        print(f"case {case}: {wrong}")
            except Exception as error:  # what this looks for
                print(f"case {case}: {type(error).__name__}: {str(error)[:200]}")
            seconds, waited = time.process_time() - start, time.perf_counter() - began
            if seconds > SECONDS or waited > LONGEST_WAIT:
                print(f"case {case}: {seconds:.0f} s of computing, {waited:.0f} s in all")
            if (more := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) > MOST_KIB:
                print(f"case {case}: {more:,} KiB more")
                held += more


def check(what: str | Path, seed: int, cases: int) -> None:
    """Raise if some case ends in anything but success or a sentence."""
    status, told, errors = Forked(main, str(what), seed, cases).ended()
    assert (status, told) == (0, ""), f"{told[-2000:]}{errors[-2000:]}"
