"""The terms of K22: against slow numpy, closed forms and the numbers of the authors' own code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from efficientnet_by_hand import filled, filled_state, reference_name
from slvr.model.encoders.contract import Embedded
from slvr.model.encoders.efficientnet import EfficientNet
from slvr.model.learner import Head, Learner
from slvr.model.objectives import similarity as module
from slvr.model.objectives.contract import Given
from slvr.model.objectives.k22 import COLA, K22, ClipFrame
from slvr.model.objectives.similarity import Similarity, framewise

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "k22"
KINDS = ("bilinear", "cosine", "cosine-code")
STORED = {"bilinear": "bilinear", "cosine": "cosinetrue", "cosine-code": "cosine"}


def rn(seed, *shape, scale=1.0, dtype=torch.float32):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (drawn * scale).to(dtype)


def ru(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def slow_similarity(x, y, kind, w, t):
    """s_ij of (N, D) and (N, D), pair by pair; row i of y belongs to row i of x."""
    s = np.empty((len(x), len(y)))
    for i in range(len(x)):
        for j in range(len(y)):
            if kind == "bilinear":
                s[i, j] = (w @ x[i]) @ y[j]
            else:
                other = y[j] if kind == "cosine" else y[i]
                s[i, j] = x[i] @ y[j] / (np.linalg.norm(x[i]) * np.linalg.norm(other) * t)
    return s


def slow_frames(u, v, kind, w, t, tolerance):
    total = []
    for x, y in zip(u, v, strict=True):
        s = slow_similarity(x, y, kind, w, t)
        for i in range(len(x)):
            near = [s[i, j] for j in range(len(y)) if abs(j - i) <= tolerance]
            total.append(np.log(sum(np.exp(s[i]))) - np.mean(near))
    return np.mean(total)


def embedded(n_views=3, clips=5, frames=7, dim=6, seed=0):
    shape = (n_views, clips, frames, dim)
    found = rn(seed, *shape, dtype=torch.float64)
    return Embedded(found.mean(2) + rn(seed + 1, n_views, clips, dim), found)


def slow_head(head, x):
    norm, _, last = head
    x = x.numpy()
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = np.tanh(x * norm.weight.detach().numpy() + norm.bias.detach().numpy())
    bias = 0 if last.bias is None else last.bias.detach().numpy()
    return x @ last.weight.detach().numpy().T + bias


@pytest.mark.parametrize("pairs", ["self", "shifted"])
@pytest.mark.parametrize("tolerance", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_each_term_is_its_formula(kind, tolerance, pairs):
    torch.manual_seed(1)
    one = K22(6, kind, 0.3, pairs, tolerance).double()
    for parameter in one.parameters():
        parameter.data.add_(0.1 * torch.rand_like(parameter))
    h, shift = embedded(), 0.4 * ru(9, 5).double() - 0.2
    found = one(h, {"shift": shift})
    w = one.similarity.bilinear.weight.detach().numpy() if kind == "bilinear" else None
    s = slow_similarity(*(slow_head(one.clip, view) for view in h.clips[:2]), kind, w, 0.3)
    clip = np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(s)])
    u = [slow_head(one.frame, view) for view in h.frames]
    pair = [(u[0], u[2])] if pairs == "shifted" else [(view, view) for view in u]
    frame = np.mean([slow_frames(*each, kind, w, 0.3, tolerance) for each in pair])
    g = [slow_head(one.pitch, view)[..., 0] for view in h.frames]
    pitch = ((g[0] - g[2] - shift.numpy()[:, None]) ** 2).mean()
    expected = {"clip": clip, "frame": frame, "pitch": pitch}
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected)


def test_the_terms_share_one_matrix_and_nothing_else():
    one, shift = K22(6).double(), {"shift": ru(9, 5).double()}
    met = {}
    for term in one.terms:
        one.zero_grad(set_to_none=True)
        one(embedded(), shift)[term].backward()
        met[term] = {name for name, p in one.named_parameters() if p.grad is not None}
    assert met["clip"] & met["frame"] == {"similarity.bilinear.weight"}
    assert met["pitch"] == {name for name, _ in one.named_parameters() if name.startswith("pitch")}
    assert set.union(*met.values()) == {name for name, _ in one.named_parameters()}


def test_smaller_objectives_are_its_terms_on_two_views():
    torch.manual_seed(0)
    whole, h = K22(6).double(), embedded()
    two = Embedded(h.clips[:2], h.frames[:2])
    for kind in (COLA, ClipFrame):
        part = kind.build(kind.Config(), Given(6)).double()
        part.load_state_dict(
            {name: x for name, x in whole.state_dict().items() if name in part.state_dict()}
        )
        found = part(two, {})
        assert tuple(found) == kind.terms
        torch.testing.assert_close(found["clip"], whole(h, {"shift": ru(1, 5)})["clip"])
    views = [framewise(x, x, whole.similarity) for x in whole.frame(h.frames)]
    torch.testing.assert_close(found["frame"], (views[0] + views[1]) / 2)


def test_frames_that_are_alike_find_each_other_at_random():
    u = torch.ones(3, 8, 4, dtype=torch.float64)
    same = Similarity(4, "cosine").double()
    for tolerance in (0, 1, 9):
        assert framewise(u, u, same, tolerance).item() == pytest.approx(np.log(8))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_by_blocks_are_the_same_with_bounded_memory(kind, monkeypatch):
    torch.manual_seed(2)
    same = Similarity(4, kind).double()
    u, v = (rn(seed, 3, 50, 4, dtype=torch.float64).requires_grad_() for seed in (3, 4))
    inputs = [u, v, *same.parameters()]
    whole = framewise(u, v, same, 1)
    expected = torch.autograd.grad(whole, inputs)
    for at_once in (120, 1000, 2600):  # less than two rows, many rows, one clip
        monkeypatch.setattr(module, "PAIRS_AT_ONCE", at_once)
        kept = []

        def keep(x, kept=kept):
            kept.append(x)
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            found = framewise(u, v, same, 1)
        # inputs and their blocks, no similarities
        assert all(x.shape[-1] == 4 for x in kept if x.is_floating_point() and x.ndim > 1)
        torch.testing.assert_close(found, whole)
        for gradient, other in zip(torch.autograd.grad(found, inputs), expected, strict=True):
            torch.testing.assert_close(gradient, other)


def test_similarities_are_float32_under_autocast():
    x, y = rn(5, 6, 64), rn(6, 6, 64)
    for kind in KINDS:
        same, own = Similarity(64, kind), torch.arange(6)
        with torch.autocast("cpu", torch.bfloat16):
            found = same(x, y, own)
        assert torch.equal(found, same(x, y, own)) and found.dtype == torch.float32


def test_what_validation_shows_of_a_perfect_and_a_blind_head():
    one, h = K22(6, "cosine").double().eval(), embedded(clips=40)
    h = Embedded(h.clips[[0, 0, 0]], h.frames)
    shift = {"shift": 0.4 * ru(9, 40).double() - 0.2}
    for parameter in one.pitch.parameters():
        parameter.data.zero_()
    found = one.measures(h, shift)
    assert found["found"] == 1 and found["r2_shift"] == pytest.approx(0)


def test_options_that_cannot_be_are_refused():
    for objective in (K22, ClipFrame, COLA):
        flag = f"--objectives.{objective.NAME.replace('_', '-')}.temperature 0"
        with pytest.raises(ValueError, match=flag):
            objective.Config(temperature=0)
    with pytest.raises(ValueError, match="tolerance of 0 or more"):
        K22.Config(tolerance=-1)


def losses_and_gradients(one, h, shift):
    h = Embedded(h.clips.requires_grad_(), h.frames.requires_grad_())
    found = one(h, {"shift": shift})
    sum(found.values()).backward()
    shared = [parameter.grad for parameter in one.parameters()]
    return {name: loss.detach() for name, loss in found.items()}, shared, list(h)


def the_objective():
    torch.manual_seed(3)
    return K22(6).double()


def as_one_of_two(number, folder):
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=2)
    h, rows = embedded(clips=8), slice(4 * number, 4 * number + 4)
    h = Embedded(h.clips[:, rows].clone(), h.frames[:, rows].clone())
    one = the_objective()
    found = losses_and_gradients(one, h, ru(9, 8).double()[rows])
    of_views = [x.grad for x in found[2]]
    alone = one.eval()(h, {"shift": ru(9, 8).double()[rows]})["clip"]
    torch.save((found[:2], of_views, alone.detach()), f"{folder}/{number}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_negatives_and_gradients_of_one(tmp_path):
    torch.multiprocessing.spawn(as_one_of_two, (tmp_path,), nprocs=2)
    halves = [torch.load(tmp_path / f"{number}.pt") for number in range(2)]
    found, shared, h = losses_and_gradients(the_objective(), embedded(clips=8), ru(9, 8).double())
    for name, loss in found.items():
        torch.testing.assert_close(sum(half[0][0][name] for half in halves) / 2, loss)
    for i, gradient in enumerate(shared):
        torch.testing.assert_close(sum(half[0][1][i] for half in halves) / 2, gradient)
    for i, view in enumerate(h):
        together = torch.cat([half[1][i] for half in halves], 1) / 2
        torch.testing.assert_close(together, view.grad)
    # in evaluation one process may be alone with its clips
    assert all(half[2] < half[0][0]["clip"] for half in halves)


def original(name):
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"the authors' numbers (shared/fixtures/k22/{name}) are not beside us")
    return np.load(path) if path.suffix == ".npz" else json.loads(path.read_text())["report"]


def similarity(kind):
    one = Similarity(512, kind)
    if kind == "bilinear":
        one.bilinear.weight.data = filled("bilinear.weight", (512, 512))
    return one


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_losses_on_fixed_embeddings_are_the_authors(kind):
    report, own = original("k22.json"), torch.arange(8)
    za = rn(310, 8, 512, scale=0.3)
    s = similarity(kind)(za, 0.5 * za + rn(311, 8, 512, scale=0.3), own)
    matrix = torch.from_numpy(original("k22.npz")[f"clip_{STORED[kind]}_similarity"]).float()
    assert (s - matrix).abs().max() < 1e-5 * matrix.std()
    value = report[f"clip_{STORED[kind]}"]["value"]
    assert F.cross_entropy(s, own).item() == pytest.approx(value, rel=1e-5)
    for frames in (3, 12):
        u, v = (rn(seed + frames, 8, frames, 512, scale=0.2) for seed in (312, 330))
        for tolerance in (0, 1, 2):
            for name, other in (("self", u), ("pair", v)):
                key = f"frame_{STORED[kind]}_T{frames}_t{tolerance}_{name}"
                found = framewise(u, other, similarity(kind), tolerance).item()
                assert found == pytest.approx(report[key]["value"], rel=1e-5), key


NAMES = {
    "fc1": "encoder.project",
    "layer_norm": "heads.k22.clip.0",
    "fc2": "heads.k22.clip.2",
    "layer_norm1": "heads.k22.frame.0",
    "frame_fc2": "heads.k22.frame.2",
    "layer_norm3": "heads.k22.pitch.0",
    "pitch_shift": "heads.k22.pitch.2",
    "bilinear": "heads.k22.similarity.bilinear",
}
OURS = {ours: theirs for theirs, ours in NAMES.items()}


def learner(kind, pool, head_norm, weights, objective=K22):
    """The authors' model by the rule, without stochastic depth, in training mode."""
    encoder = EfficientNet(head_norm=head_norm, pool_mel=pool, pool_time=pool, stochastic_depth=0.0)
    encoder.load_state_dict(filled_state(encoder, "efficientnet."))
    head = Head(objective(512, kind), "all", weights)
    made = Learner(encoder, {objective.NAME: head}, {"shift"}, 3)
    state = made.state_dict()
    for name, tensor in state.items():
        part, _, leaf = name.replace(objective.NAME, "k22").rpartition(".")
        if part in OURS and not part.startswith("encoder"):
            state[name] = filled(f"{OURS[part]}.{leaf}", tensor.shape)
    made.load_state_dict(state)
    return made


def step_views():
    """(3, 8, 1, 64, 96) and the shifts."""
    a = rn(350, 8, 96, 64)
    views = torch.stack([a, 0.7 * a + 0.7 * rn(351, 8, 96, 64), 0.9 * a + 0.3 * rn(352, 8, 96, 64)])
    return views.mT[:, :, None], {"shift": 0.4 * ru(353, 8) - 0.2}


def total_norm(model):
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return float(sum(gradient.double().square().sum() for gradient in gradients) ** 0.5)


STEPS = {
    "code_001": (K22, {"clip": 1.0, "frame": 0.01, "pitch": 0.01}),
    "paper_1": (K22, {}),
    "clip_only": (COLA, {}),
    "clip_frame": (ClipFrame, {}),
    "clip_pitch": (K22, {"clip": 1.0, "frame": 0.0, "pitch": 1.0}),
}


@pytest.mark.parametrize("kind", ["bilinear", "cosine-code"])
@pytest.mark.parametrize("step", STEPS)
def test_whole_steps_are_the_authors(kind, step):
    objective, weights = STEPS[step]
    expected = original("k22.json")[f"step_{STORED[kind]}_{step}"]
    views, known = step_views()
    model = learner(kind, "max", False, weights, objective)
    losses = model(views if objective is K22 else views[:2], known)
    losses["total"].backward()
    name = objective.NAME
    assert losses["total"].item() == pytest.approx(expected["total"], rel=2e-4)
    assert losses[f"{name}.clip"].item() == pytest.approx(expected["clip"], rel=2e-4)
    for term in ("frame", "pitch"):
        value = expected[f"{term}_times_lambda"]
        if value is not None:
            weighed = weights.get(term, 1) * losses[f"{name}.{term}"].item()
            assert weighed == pytest.approx(value, rel=2e-4)
    assert total_norm(model) == pytest.approx(expected["grad_norm_total"], rel=2e-3)


def test_gradients_of_every_weight_are_the_authors():
    views, known = step_views()
    for kind in ("bilinear", "cosine-code"):
        norms = original("k22.json")[f"step_{STORED[kind]}_paper_1"]["grad_norms"]
        model = learner(kind, "max", False, {})
        model(views, known)["total"].backward()
        largest, compared = max(norms.values()), 0
        for name, parameter in model.named_parameters():
            part, _, leaf = name.rpartition(".")
            theirs = f"{OURS[part]}.{leaf}" if part in OURS else None
            theirs = theirs or "efficientnet." + reference_name(name.removeprefix("encoder."))
            norm = norms[theirs if theirs in norms else f"similar_fc.{theirs}"]
            if norm > 1e-6 * largest:
                assert float(parameter.grad.norm()) == pytest.approx(norm, rel=2e-3), name
                compared += 1
        assert compared > 150 and len(norms) == len(list(model.parameters()))


@pytest.mark.parametrize("paper", [False, True])
def test_outputs_are_those_of_the_authors_model(paper):
    numbers = original("k22.npz")
    model = learner("bilinear", "mean" if paper else "max", paper, {})
    views, known = step_views()
    model.eval()
    with torch.no_grad():
        h = model.embed(views)["all"]
        head = model.heads["k22"]
        found = {
            "framewise_embedding": h.frames[0],
            "clipwise_embedding": h.clips[0],
            "embedding_z": head.clip(h.clips[0]),
            "frame_embedding_z": head.frame(h.frames[0]),
            "pitch_shift": head.pitch(h.frames[0]).squeeze(-1),
        }
    for name, output in found.items():
        expected = torch.from_numpy(numbers[f"{'paper_' if paper else ''}eval_anchor_{name}"])
        assert (output - expected).abs().max() < 2e-5 * expected.std(), name
    if not paper:
        model.train()(views, known)
        norm = model.encoder.stem.norm
        for leaf in ("mean", "var"):
            after = torch.from_numpy(numbers[f"bn0_running_{leaf}_after_3_views"])
            torch.testing.assert_close(
                getattr(norm, f"running_{leaf}"), after, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(("kind", "stored"), [("bilinear", "bilinear"), ("cosine", "cosine_true")])
def test_the_paper_s_step_is_the_authors_model_s(kind, stored):
    expected = original("k22.json")[f"paper_step_{stored}"]
    expected = {k: v["value"] if isinstance(v, dict) else v[0] for k, v in expected.items()}
    model = learner(kind, "mean", True, {})
    views, known = step_views()
    h = model.embed(views)["all"]
    losses = model.losses({"all": h}, known)
    head = model.heads["k22"]
    u = head.frame(h.frames)
    pairs = {"aa": (0, 0), "pp": (1, 1), "ss": (2, 2), "as": (0, 2)}
    for name, (i, j) in pairs.items():
        found = framewise(u[i], u[j], head.similarity).item()
        assert found == pytest.approx(expected[f"frame_{name}"], rel=2e-4), name
    assert losses["k22.clip"].item() == pytest.approx(expected["clip"], rel=2e-4)
    assert losses["k22.pitch"].item() == pytest.approx(expected["pitch"], rel=2e-4)
    head.pairs = "shifted"
    found = model.losses({"all": h}, known)["k22.frame"].item()
    assert found == pytest.approx(expected["frame_as"], rel=2e-4)
