"""Told the truth about the future at every cut, windows learn what the whole does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
import tiny_model

from nmn_jax import losses, memory
from nmn_jax.feedback import state_predictors
from nmn_jax.feedback.future import Future
from nmn_jax.memory import write_rules
from nmn_jax.methods import lstm_stream, nmn_stream
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.nets import leaves
from nmn_jax.tasks.base import Spec, StreamBatch, Task

ORACLE = Future(state_predictors.make_mlp_state_predictor(4), control="oracle")
RULES = {
    "hebbian": write_rules.make_hebbian_write(floor=0.1),
    "same_value": write_rules.make_same_value_write(key_width=3),
}
# Every choice of a cell at least once, and every length of a window.
CASES = (
    *(
        (row, steps)
        for row, steps in zip(tiny.COVER, (1, 2, 3, 4, 5, 1, 3), strict=True)
    ),
    ({"kinds": tiny.KINDS[0], "write_rule": "hebbian"}, 2),
    ({"kinds": tiny.KINDS[1], "write_rule": "same_value"}, 1),
)


def collecting():
    """An optimiser that adds up gradients and moves nothing."""

    def update(gradients, total, params=None):
        del params
        total = jax.tree.map(jnp.add, total, gradients)
        return jax.tree.map(jnp.zeros_like, gradients), total

    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params), update
    )


def cut(whole, steps):
    """Windows of so many steps, `[n, T, ...]`, each with the next n beyond it: what
    lies beyond the last has no target, so no loss."""
    count = len(whole.targets) // steps
    parts = jax.tree.map(
        lambda leaf: leaf.reshape(count, steps, *leaf.shape[1:]), whole
    )
    blank = jax.tree.map(jnp.zeros_like, parts)
    longer = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), parts, blank)
    beyond = [
        jax.tree.map(lambda leaf, at=at: leaf[at + 1 : at + 1 + count], longer)
        for at in range(count)
    ]
    return parts._replace(beyond=jax.tree.map(lambda *each: jnp.stack(each), *beyond))


def total(method, state, windows, steps):
    """The gradient of the summed loss of all windows, learned one after the other."""

    @tiny.jit
    def run(state, windows):
        return jax.lax.scan(method.step, state, windows)[0].network.opt_state

    return jax.tree.map(lambda each: steps * each, run(state, windows))


def nmn(row, future):
    options = dict(row)
    model = tiny_model.make_model(options.pop("kinds"), **options)
    task = tiny_model.make_task("stream")
    target = "bootstrap" if future else "window"
    design = StreamDesign(
        model, tiny_model.make_sg(), task.loss, target, "stream", future
    )
    return nmn_stream.make_method(design, task, (collecting(), tiny_model.STILL))


def first_state(method):
    """A state at the start of a sequence, with nothing collected yet."""
    state = tiny.filled(0, jax.eval_shape(method.init, jax.random.key(0)))
    state = state._replace(step=jnp.zeros((), jnp.int32))
    network = state.network._replace(opt_state=tiny.blank(state.network.opt_state))
    return state._replace(network=network, starts=jnp.ones_like(state.starts))


@pytest.mark.parametrize(("row", "steps"), CASES)
@tiny.float64
def test_windows_with_the_true_future_are_back_propagation_through_all(
    row, steps, monkeypatch
):
    monkeypatch.setattr(memory, "WRITE_RULES", {**memory.WRITE_RULES, **RULES})
    length = steps * (2 if steps > 2 else 4)
    images = tiny.normal(1, length, tiny_model.SIDE, tiny_model.SIDE)
    whole = StreamBatch(images, tiny.one_hot(np.arange(length) % tiny.C))
    method = nmn(row, ORACLE)
    state = first_state(method)
    found = total(method, state, cut(whole, steps), steps)
    alone = nmn(row, None)
    long = state._replace(future=None)
    one = jax.tree.map(lambda leaf: leaf[None], whole)
    expected = total(alone, long, one, length)
    chex.assert_trees_all_close(found, expected, rtol=0, atol=1e-12)
    # Without the future something is missing, or the test would prove nothing.
    silent = nmn(row, ORACLE._replace(control="zeroed"))
    without = total(silent, state, cut(whole, steps)._replace(beyond=None), steps)
    gap = jax.tree.map(lambda a, b: np.abs(a - b).max(), without, expected)
    assert max(jax.tree.leaves(gap)) > 1e-4


@tiny.float64
def test_what_is_learned_of_the_future_is_the_same_whatever_is_injected():
    """From the cotangent the window found on its way, or by a pass of its own."""
    model = tiny_model.make_model("linear", label_input="write")
    task = tiny_model.make_task("stream")
    images = tiny.normal(1, 3, tiny_model.SIDE, tiny_model.SIDE)
    window = StreamBatch(images, tiny.one_hot(np.arange(3) % tiny.C))

    def learned(control):
        future = Future(state_predictors.make_mlp_state_predictor(4), control=control)
        design = StreamDesign(
            model, tiny_model.make_sg(), task.loss, "bootstrap", "stream", future
        )
        method = nmn_stream.make_method(design, task, (collecting(), collecting()))
        state = first_state(method)
        state = state._replace(starts=jnp.zeros_like(state.starts))
        start = state.future.learned.opt_state
        after = tiny.jit(method.step)(state, window)[0].future.learned.opt_state
        return jax.tree.map(jnp.subtract, after, start)

    found, expected = learned("none"), learned("zeroed")
    chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-12)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("ended", [False, True])
def test_where_a_sequence_ends_nothing_of_it_is_remembered(ended):
    method = nmn({"kinds": "linear"}, ORACLE._replace(control="none"))
    state = first_state(method)
    images = tiny.normal(1, 2, tiny_model.SIDE, tiny_model.SIDE)
    window = StreamBatch(images, tiny.one_hot(np.arange(2)), jnp.asarray(ended))
    after = method.step(state, window)[0]
    assert np.all(after.starts == ended)
    assert np.any(after.previous) == (not ended)
    # A new sequence knows nothing of slots before it.
    long_ago = jax.tree.map(lambda leaf: leaf + 100.0, after.future.history)
    elder = after._replace(future=after.future._replace(history=long_ago))
    window = window._replace(ends=jnp.asarray(False))
    told, other = (
        method.step(state, window)[0].future.history for state in (after, elder)
    )
    same = jax.tree.map(lambda a, b: bool(np.all(a == b)), told, other)
    assert all(jax.tree.leaves(same)) == ended


UNITS, WIDTH, TARGETS, STREAMS, STEPS = 4, 3, 2, 2, 2
ENDS = ((False, False), (True, False), (False, True), (True, True))


def lstm(future):
    spec = Spec("stream", "regression", (WIDTH,), TARGETS, STEPS, STREAMS)
    task = Task(spec, None, losses.squared_error, losses.regression_scores)
    core, head = leaves.make_lstm(UNITS), leaves.make_dense(TARGETS)
    design = lstm_stream.Design(
        core, head, task, future, (collecting(), tiny_model.STILL)
    )
    return lstm_stream.make_method(design)


def plain_loss(params, state, batch):
    """Every stream on its own, step by step, a fresh start after every end."""
    core, head = leaves.make_lstm(UNITS), leaves.make_dense(TARGETS)
    total = 0.0
    for stream in range(STREAMS):
        carry = jax.tree.map(lambda leaf: leaf[stream], state.carried)  # noqa: B023
        for window, ended in enumerate(ENDS):
            for step in range(STEPS):
                carry, hidden = core.apply(
                    params.core, carry, batch.inputs[window, stream, step]
                )
                error = head.apply(params.head, hidden)
                error -= batch.targets[window, stream, step]
                total += jnp.mean(error**2)
            if ended[stream]:
                carry = core.carry()
    return total


@tiny.float64
def test_an_lstm_learns_from_all_of_every_sequence_and_from_no_other():
    """Two streams whose sequences end at different windows, against a plain loop."""
    count = len(ENDS)
    batch = StreamBatch(
        tiny.normal(1, count, STREAMS, STEPS, WIDTH),
        tiny.normal(2, count, STREAMS, STEPS, TARGETS),
        jnp.asarray(ENDS),
    )
    # What comes round after the last window lies beyond the end of every sequence.
    ahead = [
        jax.tree.map(lambda leaf, at=at: jnp.roll(leaf, -at - 1, 0), batch)
        for at in range(count)
    ]
    beyond = jax.tree.map(lambda *each: jnp.stack(each), *ahead)
    method = lstm(ORACLE)
    state = first_state(method)._replace(starts=jnp.zeros((STREAMS,), bool))
    found = total(method, state, batch._replace(beyond=beyond), STEPS * STREAMS)
    params = state.network.params
    expected = tiny.jit(jax.grad(plain_loss))(params, state, batch)
    chex.assert_trees_all_close(found, expected, rtol=0, atol=1e-12)
