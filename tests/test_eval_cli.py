import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from docstring_parser import parse_from_object

from conftest import write_run
from slvr.command.named import config_of, named
from slvr.eval.cli import main
from slvr.eval.embedders import MEL_STATISTICS, EncoderEmbedder
from slvr.eval.loaded import open_trained
from slvr.eval.report import REPORT
from slvr.eval.tasks.registry import TASKS
from slvr.model.encoders.resnet18 import ResNet18
from slvr.model.released import published_names
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
SHAPE = {"variant": "parallel", "dim": 16, "width": 4}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_directory: MakeDirectory) -> Path:
    """A working folder with a checkpoint in runs/x and a labelled set in data."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    write_run(tmp_path / "runs" / "x", ResNet18(**SHAPE), recipe="demo")
    make_directory("data", n_clips=20, n_classes=5, split="eval")
    return tmp_path


def evaluate(*args: str) -> int:
    return main(["--checkpoint", "runs/x", "--n-tasks", "200", "--piece", "0.2", *args])


def test_results_are_written_and_repeat_themselves(here: Path, capsys) -> None:
    assert evaluate("--shards", "data") == 0
    printed, shown = capsys.readouterr()
    out = here / "results" / "x"
    assert f"report: {Path('results/x') / REPORT}" in printed
    scores = pd.read_csv(out / "results.csv")
    assert scores["model"].tolist() == ["x", "untrained, uncalibrated", *MEL_STATISTICS]
    assert scores["baseline"].tolist() == [False] + 4 * [True]
    assert scores["classifier"].tolist() == 2 * ["sgd"] + 3 * ["centroid"]
    assert scores["waveforms"].tolist() == 2 * ["published"] + 3 * ["none"]
    assert scores["accuracy"].between(0, 1).all() and (scores["ci95"] > 0).all()
    for accuracy in scores["accuracy"]:
        assert f"{100 * accuracy:.2f} ±" in printed
        assert f"{100 * accuracy:.2f} ±" in shown  # as soon as it is known
        assert f"{100 * accuracy:.2f} ±" in (out / "results.md").read_text()
    assert json.loads((out / "results.json").read_text())[1]["set_clips"] == 20
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "evaluate" and record["config"]["n_tasks"] == 200
    assert record["datasets"] == {"data": ShardDirectory.open("data").fingerprint}
    assert "demo" in (out / REPORT).read_text()

    before = (out / "results.csv").read_bytes()
    assert evaluate("--shards", "data") == 0
    assert (out / "results.csv").read_bytes() == before
    assert len(list((here / "results" / "features").iterdir())) == 5


def test_several_checkpoints_and_sets_make_one_table(
    here: Path, make_directory: MakeDirectory
) -> None:
    make_directory("more", n_clips=12, n_classes=6, split="test")
    checkpoint = here / "runs" / "x" / "step-00000007.safetensors"
    args = ["--checkpoint", "runs/x", "--checkpoint", str(checkpoint), "--shards", "data", "more"]
    args += ["--n-tasks", "50", "--piece", "0.2", "--out", "both", "--n-way", "4"]
    assert main(args) == 0
    scores = pd.read_csv(here / "both" / "results.csv")
    models = ["x", "step-00000007", "untrained x, uncalibrated", *MEL_STATISTICS]
    assert scores["model"].tolist() == 2 * models
    assert scores["set"].tolist() == 6 * ["data"] + 6 * ["more"]
    assert scores["split"].tolist() == 6 * ["eval"] + 6 * ["test"]


def test_baselines_can_be_left_out_and_a_file_gives_the_settings(here: Path) -> None:
    Path("settings.yaml").write_text("n_tasks: 30\nclassifier: centroid\nbaselines: false\n")
    args = ["--config", "settings.yaml", "--checkpoint", "runs/x", "--shards", "data"]
    assert main([*args, "--piece", "0.2"]) == 0
    scores = pd.read_csv(here / "results" / "x" / "results.csv")
    assert scores[["model", "classifier", "n_tasks"]].values.tolist() == [["x", "centroid", 30]]


def test_classes_left_out_are_named(here: Path, make_directory: MakeDirectory, capsys) -> None:
    make_directory("uneven", n_clips=11, n_classes=6, split="eval")  # class_5 has one clip
    assert evaluate("--shards", "uneven", "--no-baselines") == 0
    assert "left out: class_5" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--shards", "nowhere"], "nowhere: no such shard directory"),
        (["--shards", "runs"], "dataset.json is not there"),
        (["--shards", "data", "data"], "both hold the set 'data'"),
        (["--shards", "data", "--n-way", "6"], "--n-way 5"),
        (["--shards", "data", "--split", "dev"], "no split 'dev'"),
        (["--shards", "data", "--n-way", "1"], "--n-way 1: out of range"),
        (["--shards", "data", "--piece", "0"], "--piece 0: expected native, 5s, whole"),
        (["--shards", "data", "--device", "tpu9"], "--device tpu9"),
        (["--shards", "data", "--out", "runs"], "runs: exists and holds no results"),
        (["--shards", "data", "--out", "data/dataset.json"], "is a file"),
        (["--shards", "data", "--checkpoint", "data"], "data: no checkpoint"),
        (["--shards", "data", "--checkpoint", "runs/x"], "runs/x is given twice"),
        (["--shards", "data", "--encoder", "nowhere:f"], "--encoder nowhere:f"),
        (["--shards", "data", "--seed", "-1"], "--seed -1: out of range"),
    ],
)
def test_wrong_arguments_get_one_sentence(
    here: Path, capsys, args: list[str], sentence: str
) -> None:
    assert evaluate(*args) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr
    assert stderr.startswith("evaluate: error: ") and stderr.count("\n") == 1
    assert not (here / "results").exists()


def test_one_class_is_refused_with_the_numbers(
    here: Path, make_directory: MakeDirectory, capsys
) -> None:
    make_directory("single", n_classes=1, split="eval")
    assert evaluate("--shards", "single") == 2
    assert "1 of the 1 classes have so many" in capsys.readouterr().err


def test_nothing_to_evaluate_is_refused(here: Path, capsys) -> None:
    assert main(["--shards", "data"]) == 2
    assert "nothing to evaluate: give --checkpoint" in capsys.readouterr().err


def test_unlabelled_shards_are_refused(here: Path, make_directory: MakeDirectory, capsys) -> None:
    make_directory("bare", n_classes=0)
    assert evaluate("--shards", "bare") == 2
    assert "no label" in capsys.readouterr().err


def as_benchmark(directory: str, recipe: str) -> None:
    """Makes a directory one of the benchmark's sets, by its manifest."""
    path = Path(directory) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recipe": recipe}))


def test_a_set_of_the_benchmark_stands_beside_what_is_published(
    here: Path, make_directory: MakeDirectory, capsys
) -> None:
    make_directory("watkins", n_clips=64, n_classes=32, split="test")
    as_benchmark("data", "esc50")
    as_benchmark("watkins", "watkins")
    assert evaluate("--shards", "data", "watkins", "--protocol", "published") == 0
    printed = capsys.readouterr().out
    for part in ("protocol published", "average rank", "SimCLR MT-Bn (published)", "69.17"):
        assert part in printed
    text = (here / "results" / "x" / "results.md").read_text()
    for difference in (
        "data is not the benchmark's: 20 clips instead of 2,000, 5 classes in split eval instead",
        "watkins is not the benchmark's: 64 clips instead of 1,698.",
    ):
        assert difference in text
    assert "| model | ESC-50* | Watkins* | avg rank |" in text
    assert "minus SimCLR MT-Parallel" in text  # the recipe "demo" has no row of its own
    assert r"\toprule" in (here / "results" / "x" / "results.tex").read_text()


@pytest.mark.parametrize(
    ("name", "waveforms", "features", "piece"),
    [
        ("matched", "published", "l2", "0.2 s"),
        ("published", "none", "none", "1 s"),
        ("later", "per-clip", "l2", "5 s"),
    ],
)
def test_the_protocol_decides_and_is_in_every_table(
    here: Path, name: str, waveforms: str, features: str, piece: str
) -> None:
    as_benchmark("data", "speechcommands")
    args = ["--checkpoint", "runs/x", "--shards", "data", "--n-tasks", "20", "--protocol", name]
    if name == "matched":
        args += ["--piece", "0.2"]
    assert main(args) == 0
    scores = pd.read_csv(here / "results" / "x" / "results.csv", keep_default_na=False)
    row = scores.iloc[0]
    assert (row.protocol, row.waveforms) == (name, waveforms)
    assert (row.normalise_features, row.piece) == (features, piece)
    normalisation = {"matched": "published", "published": "none", "later": "per-clip"}[name]
    encoder = open_trained("runs/x").encoder
    embedder = EncoderEmbedder("x", encoder, MTSLVR(), normalisation, torch.device("cpu"))
    assert row.model_sha256 == embedder.fingerprint
    for file in ("results.md", "results.tex", REPORT):
        assert f"protocol {name}" in (here / "results" / "x" / file).read_text()


def test_anybodys_encoder_is_ranked_by_the_same_protocol(here: Path) -> None:
    Path("moments_of.py").write_text(
        "import torch\n"
        "def embed(waves):\n"
        "    return torch.stack([waves.mean(1), waves.std(1)], 1)\n"
    )
    args = ["--encoder", "moments_of:embed", "--checkpoint", "runs/x", "--shards", "data"]
    assert main([*args, "--n-tasks", "50", "--piece", "whole"]) == 0
    scores = pd.read_csv(here / "results" / "x" / "results.csv")
    assert scores["model"].tolist() == [
        *("x", "moments_of:embed", "untrained, uncalibrated"),
        *MEL_STATISTICS,
    ]
    assert scores["dim"].tolist()[1] == 2 and scores["piece"].tolist()[1] == "whole clips"
    args = [
        "--encoder",
        "moments_of:embed",
        "--shards",
        "data",
        "--n-tasks",
        "50",
        "--no-baselines",
    ]
    assert main(args) == 0
    assert (here / "results" / "moments_of-embed" / REPORT).is_file()


def test_a_published_model_is_evaluated(here: Path) -> None:
    encoder = ResNet18("bn", dim=1000)
    names = published_names(encoder)
    torch.save({names[k]: v for k, v in encoder.state_dict().items()}, here / "theirs.pt")
    args = ["--released", "theirs.pt", "--variant", "bn", "--shards", "data", "--n-tasks", "20"]
    assert main([*args, "--piece", "0.2", "--no-baselines"]) == 0
    scores = pd.read_csv(here / "results" / "theirs" / "results.csv")
    assert scores[["model", "dim"]].values.tolist() == [["theirs", 1000]]


@pytest.mark.parametrize("flag", ["--released", "--checkpoint"])
def test_a_published_model_of_another_variant_is_refused_with_the_keys(
    here: Path, capsys, flag: str
) -> None:
    encoder = ResNet18("none", dim=1000)
    names = published_names(encoder)
    name = "AS_BAL_simclr_trans_1_0_parallel_2_3__100_5e-05_21022023-145537.pt"
    torch.save({names[k]: v for k, v in encoder.state_dict().items()}, here / name)
    args = [flag, name, "--shards", "data"]
    args += ["--variant", "parallel"] if flag == "--released" else []
    assert main(args) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"evaluate: error: {name}: state dict does not fit variant 'parallel'")
    assert "missing (layer" in stderr and "unexpected (" in stderr
    assert "its encoder is that of variant 'none'" in stderr
    assert stderr.count("\n") == 1


def test_features_of_another_checkpoint_are_not_taken(here: Path) -> None:
    torch.manual_seed(2)
    assert evaluate("--shards", "data", "--no-baselines") == 0
    write_run(here / "runs" / "x", ResNet18(**SHAPE))
    assert evaluate("--shards", "data", "--no-baselines") == 0
    first, second = sorted((here / "results" / "features").glob("*/features.npy"))
    assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize("name", TASKS)
def test_every_task_describes_itself(name: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert f"usage: evaluate {name}" in printed
    task = named(name, TASKS, "evaluate")
    assert name == task.NAME
    for field in task.Config.__dataclass_fields__:
        assert "--" + field.replace("_", "-") in printed
    with pytest.raises(SystemExit):
        main(["--help"])
    others = " ".join(capsys.readouterr().out.split()).partition("other commands")[2]
    assert (f"evaluate {name} {task.Config.__doc__}" in others) == (name != "few-shot")


@pytest.mark.parametrize("name", TASKS)
def test_every_setting_is_described(name: str) -> None:
    config = config_of(name, TASKS, "evaluate")
    for part in filter(dataclasses.is_dataclass, config.__mro__):
        described = {p.arg_name: p.description for p in parse_from_object(part).params}
        for field in part.__annotations__:
            assert described.get(field), f"{part.__name__}.{field}"


def test_the_few_shot_table_needs_no_sub_command(here: Path) -> None:
    args = ["--n-tasks", "50", "--shards", "data", "--no-baselines"]
    assert evaluate(*args) == 0
    first = (here / "results" / "x" / "results.csv").read_bytes()
    assert main(["few-shot", "--checkpoint", "runs/x", "--piece", "0.2", *args]) == 0
    assert (here / "results" / "x" / "results.csv").read_bytes() == first


def test_help_and_wrong_paths_load_no_torch(here: Path) -> None:
    trained = ["--checkpoint", "runs/x"]
    cases = {
        "Few-shot accuracy": ["--help"],
        "A classifier over all": ["probe", "--help"],
        "nope: no such checkpoint": ["--checkpoint", "nope", "--shards", "nope"],
        "data: no checkpoint there": ["retrieve", "--checkpoint", "data", "--shards", "data"],
        "nope: no such shard directory": [*trained, "--shards", "nope"],
        "dataset.json is not there": ["probe", *trained, "--shards", "runs"],
        "nope.pt: no such file": ["--released", "nope.pt", "--shards", "data"],
        "--only x: no such file": [*trained, "--shards", "data", "--only", "x"],
        "runs: exists and holds no results": [*trained, "--shards", "data", "--out", "runs"],
        "nothing to evaluate": ["--shards", "data"],
        "evaluate prob: expected one of few-shot, inv": ["prob", "--shards", "data"],
    }
    code = (
        "import sys; from slvr.eval.cli import main\n"
        f"for args in {list(cases.values())}:\n"
        "    try: assert main(args) == 2\n"
        "    except SystemExit as stopped: assert stopped.code == 0\n"
        "    print('torch' in sys.modules, args)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for sentence, args in cases.items():
        assert sentence in run.stdout + run.stderr
        assert f"False {args}" in run.stdout
    assert not (here / "results").exists()


def test_only_the_clips_of_another_table_are_scored(
    here: Path, make_directory: MakeDirectory, capsys
) -> None:
    make_directory("theirs", n_clips=14, n_classes=0, first=10)  # clips 10 to 19 are in both
    args = ["--shards", "data", "--no-baselines", "--only", "theirs/clips.parquet"]
    assert evaluate(*args, "--out", "common") == 0
    assert evaluate(*args[:3], "--out", "all") == 0
    common, whole = (pd.read_csv(here / out / "results.csv").iloc[0] for out in ("common", "all"))
    assert (common.set_clips, whole.set_clips) == (10, 20)
    keys = {
        frozenset(pd.read_parquet(pieces)["key"])
        for pieces in (here / "results" / "features").glob("*/pieces.parquet")
    }
    clips = [f"clip_{i:04d}" for i in range(20)]
    assert keys == {frozenset(clips[10:]), frozenset(clips)}
    record = json.loads((here / "common" / "run.json").read_text())
    assert record["config"]["only"] == "theirs/clips.parquet"
    assert (
        record["datasets"]["theirs/clips.parquet"]
        == hashlib.sha256(Path("theirs/clips.parquet").read_bytes()).hexdigest()
    )
    capsys.readouterr()
    make_directory("strangers", n_clips=3, first=50)
    assert evaluate(*args[:4], "strangers/clips.parquet") == 2
    assert "none of the 20 clips of split eval has the same samples" in capsys.readouterr().err
    assert evaluate(*args[:4], "theirs/dataset.json") == 2
    assert "theirs/dataset.json/clips.parquet: " in capsys.readouterr().err


def test_tasks_are_drawn_several_times(here: Path) -> None:
    line = ["--shards", "data", "--no-baselines", "--n-tasks", "50"]
    alone = []
    for seed in (3, 4):
        assert evaluate(*line, "--seed", str(seed)) == 0
        alone.append(pd.read_csv(here / "results" / "x" / "results.csv").iloc[0])
    assert evaluate(*line, "--seed", "3", "--seeds", "2") == 0
    both = pd.read_csv(here / "results" / "x" / "results.csv").iloc[0]
    accuracies = pd.Series([row.accuracy for row in alone])
    assert both.accuracy == pytest.approx(accuracies.mean())
    assert both.sd_seeds == pytest.approx(accuracies.std())
    assert (both.n_seeds, both.n_tasks) == (2, 50)
    assert both.ci95 < max(row.ci95 for row in alone)
    text = (here / "results" / "x" / "results.md").read_text()
    assert "50 tasks a set, drawn 2 times" in text
    assert "Standard deviation over 2 draws of the tasks" in text


def test_runs_of_several_seeds_are_one_row(here: Path, make_directory: MakeDirectory) -> None:
    make_directory("more", n_clips=20, n_classes=5, split="eval", first=100)
    for seed in (0, 1):
        torch.manual_seed(seed)
        write_run(here / "runs" / f"a-{seed}", ResNet18(**SHAPE), recipe="demo", seed=seed)
    args = ["--checkpoint", "runs/a-*", "--shards", "data", "more", "--n-tasks", "50"]
    assert main([*args, "--piece", "0.2", "--out", "out"]) == 0
    scores = pd.read_csv("out/results.csv", keep_default_na=False)
    of_set = scores[scores["set"] == "data"]
    assert of_set["model"].tolist()[:3] == ["a, 2 seeds", "a-0", "a-1"]
    assert of_set["n_runs"].tolist()[:3] == [2, 1, 1]
    assert float(of_set["accuracy"].iloc[0]) == pytest.approx(of_set["accuracy"].iloc[1:3].mean())
    text = Path("out/results.md").read_text()
    assert "| set | a, 2 seeds | untrained" in text and "| set | a-0" not in text
    assert "published mean and deviation for a, 2 seeds, untrained" in text
    for part in (
        ", sd ",
        "Percentage points to the best of each set",
        "Percentage points above mean log-mel",
        "Accuracy of several training seeds",
        "Average ranks over 2 sets that differ by less than",
        "| data, a, 2 seeds | ",
    ):
        assert part in text
        assert part.replace("|", "").strip() in Path("out/report.html").read_text()
    assert "**" in text and r"\textbf" in Path("out/results.tex").read_text()
    assert '<svg class="ranks"' in Path("out/report.html").read_text()


def test_what_a_checkpoint_may_name_is_passed_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = []

    def load(path: str, variant: str | None, allow: tuple[str, ...]) -> object:
        passed.append(allow)
        return open_trained(path, variant, ())

    monkeypatch.setattr("slvr.eval.models.open_trained", load)
    allowed = ["--allow", "mine:Encoder", "./theirs.py:Frames"]
    assert evaluate("--shards", "data", "--no-baselines", *allowed) == 0
    assert passed == [("mine:Encoder", "./theirs.py:Frames")]


def test_an_encoder_is_found_beside_a_stranger_of_every_name(here: Path) -> None:
    """A user's modules may be named as our folders are, or as modules that ours import."""
    mine = (
        "import torch\ndef embed(waves):\n    return torch.stack([waves.mean(1), waves.std(1)], 1)"
    )
    for path in ("model.py", "train.py", "eval/__init__.py"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(mine)
    args = ["--encoder", "model:embed", "train:embed", "eval:embed", "--shards", "data"]
    args += ["--n-tasks", "20", "--piece", "0.2", "--no-baselines"]
    code = f"import sys; from slvr.eval.cli import main; sys.exit(main({args}))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    scores = pd.read_csv(here / "results" / "model-embed" / "results.csv")
    assert scores["model"].tolist() == ["model:embed", "train:embed", "eval:embed"]
    assert (scores["dim"] == 2).all()


def test_short_clips_supports_and_queries_are_as_asked_for(here: Path, capsys) -> None:
    default = ["--shards", "data", "--no-baselines", "--piece", "0.3"]
    asked = ["--short", "centre", "--support", "piece", "--query", "votes"]
    assert evaluate(*default, "--out", "default") == 0
    assert "put in the middle of silence" not in capsys.readouterr().out
    assert evaluate(*default, *asked, "--out", "asked") == 0
    assert "put in the middle of silence" in " ".join(capsys.readouterr().out.split())
    columns = ["short", "support", "query", "cutting", "set_pieces"]
    first, second = (
        pd.read_csv(here / out / "results.csv").iloc[0] for out in ("default", "asked")
    )
    # 10 clips of 0.2 s, and 10 of 0.5 s: two pieces of 0.3 s
    assert list(first[columns]) == ["loop", "mean", "scores", "spread", 30]
    assert list(second[columns]) == ["centre", "piece", "votes", "spread", 30]
    assert len(list((here / "results" / "features").iterdir())) == 2
    text = (here / "asked" / "results.md").read_text()
    assert "a support is one piece, a query decides by its pieces' votes" in text
    assert "| data, eval | 5 | 20 | 30 | 0.3 s | 10 | 0.20 | 0.35 | 0.50 |" in text
    for file in ("results.md", "results.tex", REPORT):
        assert (here / "asked" / file).read_text().count("protocol matched") == 1


def test_a_model_that_heard_short_clips_otherwise_is_named(here: Path) -> None:
    write_run(here / "runs" / "y", ResNet18(**SHAPE), short="silence")
    args = ["--checkpoint", "runs/x", "runs/y", "--shards", "data", "--n-tasks", "20"]
    assert main([*args, "--piece", "0.2", "--no-baselines"]) == 0
    text = (here / "results" / "x" / "results.md").read_text()
    assert "y: trained with --short silence, evaluated with loop." in text
    assert "x: trained with" not in text
