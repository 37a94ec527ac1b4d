"""The online fast path: one update by hand, an episode by a loop, and its borders."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import C, K, T, float64, make_case

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import adapting, fast, plumbing, predictors, sources
from nmn_jax.feedback.fast import Adaptation
from nmn_jax.feedback.sources import Cue, Seen
from nmn_jax.types import PerController

ALL = ("input", "output", "write")


def make_source(core="linear", seed=11, order=plumbing.through, scale=0.4):
    """A trained-looking predictor."""
    predictor = predictors.PREDICTORS[core]()
    params = tiny.drawn(seed, predictor.init, K, C, scale=scale)
    params = PerController(*(tiny.filled(seed + i, params, scale) for i in range(3)))
    return sources.predicted_source(predictor, params, width=K, order=order)


def make_adaptation(path, case, source, rate):
    """The fast path at work, with one rate for all tensors."""
    rates = fast.init_rates(path, case.params.controllers, rate=rate)
    return Adaptation(path, case.cell, rates, source)


def unroll(path, case, source, *, rate=0.5, **options):
    adaptation = make_adaptation(path, case, source, rate)
    run = tiny.jit(functools.partial(fast.unroll, adaptation))
    inputs = options.pop("inputs", case.inputs)
    return run(
        params=case.params, state=options.pop("state", case.state),
        inputs=inputs, cue=Cue(inputs.label), **options,
    )  # fmt: skip


def adapted(path, rate=0.5):
    """One fast update of linear controllers, with what it was made from."""
    case = make_case("linear")
    inputs = jax.tree.map(lambda leaf: leaf[0], case.inputs)
    zeros = PerController(*(jnp.zeros((K,)),) * 3)
    _, trace = case.cell.step(case.params, case.state, inputs, zeros)
    cotangents = PerController(*(tiny.normal(seed, K) for seed in range(3)))
    slow = case.params.controllers
    adaptation = make_adaptation(path, case, sources.zero_source(), rate)
    start = fast.start(path, slow, adaptation.source).controllers
    seen = Seen(case.params, case.state, inputs, trace, Cue(inputs.label))
    found = fast.adapt(adaptation, start, seen, cotangents)
    return found, slow, trace, cotangents


@float64
def test_one_plain_update_of_a_linear_controller_is_an_outer_product():
    path = fast.make_fast_path(ALL, step_size="plain")
    found, slow, trace, cotangents = adapted(path, rate=0.5)
    for new, old, given, said in zip(
        found, slow, trace.inputs, cotangents, strict=True
    ):
        expected = old["kernel"] - 0.5 * np.outer(given, said)
        np.testing.assert_allclose(new["kernel"], expected, rtol=1e-13)


@float64
def test_one_normalised_update_by_hand():
    path = fast.make_fast_path(ALL, step_size="normalised")
    found, slow, trace, cotangents = adapted(path, rate=2.0)
    for new, old, given, said in zip(
        found, slow, trace.inputs, cotangents, strict=True
    ):
        bounded = said / np.sqrt(1 + np.mean(np.square(said)))
        step = 2.0 * np.outer(given, bounded) / (1 + np.sum(np.square(given)))
        np.testing.assert_allclose(new["kernel"], old["kernel"] - step, rtol=1e-12)
        # The output of the same input moves by less than the rate times ĝ.
        moved = given @ new["kernel"] - given @ old["kernel"]
        assert np.all(np.abs(moved) <= 2.0 * np.abs(bounded))


@float64
def test_every_tensor_has_its_own_rate():
    path = fast.make_fast_path(("output",), step_size="plain")
    case = make_case("skip_lstm")
    rates = fast.init_rates(path, case.params.controllers, rate=0.25)
    assert rates.input is None and rates.write is None
    slow = case.params.controllers.output
    assert jax.tree.structure(rates.output) == jax.tree.structure(slow)
    chex.assert_trees_all_close(
        jax.tree.map(jnp.exp, rates.output), jax.tree.map(lambda _: 0.25, slow)
    )
    # No buffer twice: a learner donates them.
    pointers = [r.unsafe_buffer_pointer() for r in jax.tree.leaves(rates)]
    assert len(set(pointers)) == len(pointers)


def looped(path, case, source, rate, *, probes):
    """Step, listen, then move each chosen tensor against its own gradient."""
    weights, state, carries, traces = (
        case.params.controllers,
        case.state,
        source.init(),
        [],
    )
    for t in range(len(case.inputs.label)):
        inputs, probed = jax.tree.map(lambda leaf, t=t: leaf[t], (case.inputs, probes))
        merged = case.params._replace(controllers=weights)
        written = case.params if path.writer is fast.slow_writes else merged
        after, trace = case.cell.step(written, state, inputs, probed)
        _, corrected = case.cell.step(merged, state, inputs, probed)
        seen = Seen(merged, state, inputs, corrected, Cue(inputs.label))
        carries, cotangents = source.step(carries, seen)
        weights = PerController(
            *(
                moved(path, rate, name, *each)
                for name, *each in zip(
                    ALL, case.cell.controllers, weights, state.carries,
                    corrected.inputs, cotangents, strict=True,
                )
            )
        )  # fmt: skip
        state = after
        traces.append(corrected._replace(writes=trace.writes))
    return state, weights, jax.tree.map(lambda *steps: jnp.stack(steps), *traces)


def moved(path, rate, name, controller, params, carry, given, cotangent):
    """The parameters of one controller after one fast update."""
    bounded = path.step_size.bounded(cotangent)
    size = path.step_size.factor(given)
    grads = jax.grad(lambda p: controller.step(p, carry, given)[1] @ bounded)(params)
    chosen = set(path.tensors or params) if name in path.controllers else set()
    return {
        key: jax.tree.map(
            lambda p, g, on=key in chosen: p - on * rate * size * g,
            params[key], grads[key],
        )
        for key in params
    }  # fmt: skip


PATHS = [
    (ALL, (), "plain", "fast", "linear", "lstm"),
    (("output",), (), "normalised", "slow", "skip_lstm", "residual"),
    (("input", "write"), ("skip", "gain"), "normalised", "fast", "skip_lstm", "mlp"),
    # Slow weights write: outer products, the same beside another controller, and where
    # the memory is asked something else.
    (("output",), ("skip",), "normalised", "slow", "skip_lstm", "residual"),
    (("output", "write"), ("skip",), "plain", "slow", "stateless", "lstm"),
    (("output", "write"), ("kernel",), "normalised", "slow", "linear", "mlp"),
    (("write",), ("skip",), "normalised", "slow", "skip_lstm", "linear"),
    (("input", "output"), ("skip",), "plain", "slow", "skip_lstm", "residual"),
]
# Two whole chunks and a step that is left, where updates are outer products.
STEPS = 5


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(adapting, "CHUNK", 2)


@pytest.mark.parametrize(
    ("names", "tensors", "step_size", "writer", "kinds", "core"), PATHS
)
@float64
def test_an_episode_is_a_loop(names, tensors, step_size, writer, kinds, core):
    path = fast.make_fast_path(
        names, tensors=tensors, step_size=step_size, writer=writer
    )
    case = make_case(kinds, steps=STEPS, label_input="write")
    source = make_source(core)
    probes = PerController(*(0.3 * tiny.normal(30 + i, STEPS, K) for i in range(3)))
    state, weights, trace = unroll(path, case, source, rate=0.3, probes=probes)
    merged = fast.merge(case.params.controllers, weights.controllers)
    found = (state, merged, trace)
    expected = tiny.jit(lambda: looped(path, case, source, 0.3, probes=probes))()
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)
    for name in ALL:
        before = getattr(case.params.controllers, name)
        if name not in names:
            assert getattr(weights.controllers, name) is None
        else:
            fresh = getattr(weights.controllers, name)
            assert set(fresh) == set(tensors or before)
            assert all(np.any(fresh[key] != before[key]) for key in tensors)


def test_an_episode_starts_from_the_slow_weights_whatever_came_before():
    path, case = fast.make_fast_path(ALL), make_case()
    source = make_source("lstm")
    first = unroll(path, case, source)
    chex.assert_trees_all_equal(unroll(path, case, source), first)
    start = fast.start(path, case.params.controllers, source)
    chex.assert_trees_all_equal(start.controllers, case.params.controllers)


@pytest.mark.parametrize(
    "path",
    [
        fast.make_fast_path(ALL),
        fast.make_fast_path(("output", "write"), tensors=("skip",), writer="slow"),
    ],
    ids=["fast writes", "slow writes"],
)
@float64
def test_kept_weights_make_two_halves_one_whole(path):
    case = make_case()
    source = make_source("lstm")
    whole = unroll(path, case, source)
    halves = [
        jax.tree.map(lambda leaf, w=window: leaf[w], case.inputs)
        for window in (slice(0, 2), slice(2, T))
    ]
    state, weights, first = unroll(path, case, source, inputs=halves[0])
    state, weights, second = unroll(
        path, case, source, inputs=halves[1], state=state, weights=weights
    )
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), first, second)
    chex.assert_trees_all_close((state, weights, joined), whole, rtol=1e-12)


@pytest.mark.parametrize("core", ["lstm", "mlp", "linear", "residual", "silent"])
@float64
def test_untrained_predictors_leave_the_episode_as_it_is(core, key):
    case = make_case()
    predictor = predictors.PREDICTORS[core]()
    params = predictors.init(predictor, key, width=K, classes=C)
    source = sources.predicted_source(
        predictor, params, width=K, order=plumbing.through
    )
    path = fast.make_fast_path(ALL, step_size="plain")
    state, weights, trace = unroll(path, case, source, rate=10.0)
    chex.assert_trees_all_equal(weights.controllers, case.params.controllers)
    expected = tiny.unroll(case.cell, case.params, case.state, case.inputs)
    chex.assert_trees_all_close((state, trace), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kinds", ["linear", "skip_lstm"])
def test_normalised_updates_survive_a_hundred_huge_cotangents(kinds):
    case = make_case(kinds, steps=100)
    path = fast.make_fast_path(ALL, step_size="normalised")
    inputs = case.inputs._replace(features=1e3 * case.inputs.features)
    source = make_source("linear", scale=1e6)
    state, weights, trace = unroll(path, case, source, rate=1.0, inputs=inputs)
    chex.assert_tree_all_finite((state, weights, trace))
    # The plain rule is what this guards against.
    plain = fast.make_fast_path(ALL, step_size="plain")
    _, weights, _ = unroll(plain, case, source, rate=1.0, inputs=inputs)
    assert not all(jnp.all(jnp.isfinite(w)) for w in jax.tree.leaves(weights))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"controllers": ("outputs",)}, "input.*output.*write"),
        ({"controllers": ()}, "at least one"),
        ({"controllers": ALL, "step_size": "huge"}, "normalised.*plain"),
        ({"controllers": ALL, "order": "third"}, "first.*second"),
        ({"controllers": ALL, "writer": "nobody"}, "fast.*slow"),
        ({"controllers": ALL, "keep": 1.5}, "keep=1.5"),
    ],
)
def test_unknown_choices_are_refused_with_the_list(arguments, message):
    with pytest.raises(ValueError, match=message):
        fast.make_fast_path(**arguments)


def test_unknown_tensors_and_rates_of_zero_are_refused():
    controllers = make_case("skip_lstm").params.controllers
    path = fast.make_fast_path(ALL, tensors=("skipp",))
    with pytest.raises(ValueError, match=r"skipp.*\['gain', 'lstm', 'skip'\]"):
        fast.init_rates(path, controllers, rate=0.1)
    with pytest.raises(ValueError, match="positive"):
        fast.init_rates(fast.make_fast_path(ALL), controllers, rate=0.0)


def test_probes_move_the_outputs_the_fast_path_listens_to():
    case, path = make_case("linear"), fast.make_fast_path(ALL)
    probes = tiny.filled(5, cell_lib.zero_probes(case.cell, T))
    _, _, trace = unroll(path, case, make_source(), probes=probes)
    _, _, still = unroll(path, case, make_source())
    moved = trace.outputs.input[0] - still.outputs.input[0]
    np.testing.assert_allclose(moved, probes.input[0], rtol=1e-4)
