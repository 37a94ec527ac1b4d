"""How answers at every step become a forecast, and how they may not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax.methods import table
from nmn_jax.nets import leaves, recurrent
from nmn_jax.settings import override, preset
from nmn_jax.tasks import decoding, trajectories
from nmn_jax.tasks.base import Spec

T, H, D = 5, 5, 2
SPEC = Spec("forecast", "regression", (T, D), D, horizon=H)
PAIRS = [(d, f) for d in decoding.DECODINGS for f in decoding.FRAMES]


def made(decode, frame):
    return decoding.DECODINGS[decode](SPEC, decoding.FRAMES[frame](H, 2))


@pytest.mark.parametrize(("decode", "frame"), PAIRS)
@tiny.float64
def test_right_answers_are_read_as_what_was_asked_for(decode, frame):
    way = made(decode, frame)
    seen, asked = tiny.normal(1, T, D), tiny.normal(2, H, D)
    laid = way.lay(seen, asked)
    assert laid.targets.shape == (len(laid.inputs), way.width)
    np.testing.assert_allclose(jnp.sum(laid.weights), 1)
    np.testing.assert_allclose(way.read(laid.targets, seen, asked), asked)
    other = laid.targets + tiny.normal(3, *laid.targets.shape)
    assert not np.allclose(way.read(other, seen, asked), asked)


@pytest.mark.parametrize("frame", decoding.FRAMES)
@tiny.float64
def test_a_frame_knows_nothing_of_later_steps(frame):
    """Nor of where it all happens, if it is relative."""
    chosen = decoding.FRAMES[frame](H, 2)
    whole, ahead = tiny.normal(1, T, D), jnp.arange(1, 4)
    other = whole.at[3:].set(tiny.normal(2, 2, D))
    for told in (chosen.inputs, lambda x: chosen.anchors(x, ahead)):
        np.testing.assert_array_equal(told(whole)[:3], told(other)[:3])
    moved = chosen.inputs(whole + 7.0)
    assert np.allclose(moved, chosen.inputs(whole)) == (frame != "absolute")


@pytest.mark.parametrize("decode", ["aligned", "flat"])
@tiny.float64
def test_an_answer_is_read_as_in_training(decode):
    way = made(decode, "velocity")
    outputs, seen = tiny.normal(1, 3, T, way.width), tiny.normal(2, 3, T, D)
    asked = tiny.normal(3, 3, H, D)
    found = way.answer(lambda inputs: outputs, seen)
    np.testing.assert_allclose(found, jax.vmap(way.read)(outputs, seen, asked))


@tiny.float64
def test_the_aligned_answer_to_step_t_is_for_step_t_plus_h():
    way = made("aligned", "absolute")
    outputs = jnp.arange(T * D, dtype=float).reshape(T, D)
    seen, asked = tiny.normal(1, T, D), tiny.normal(2, H, D)
    np.testing.assert_array_equal(way.read(outputs, seen, asked), outputs)
    np.testing.assert_array_equal(way.lay(seen, asked).targets, asked)


@pytest.mark.parametrize("frame", decoding.FRAMES)
@tiny.float64
def test_autoregressive_answers_are_given_back_step_by_step(frame):
    """Against a loop that appends one step at a time; the network is causal."""
    way, chosen = made("autoregressive", frame), decoding.FRAMES[frame](H, 2)
    matrix = 0.3 * tiny.normal(4, D, D)

    def network(inputs):
        return jnp.tanh(jnp.cumsum(inputs, axis=1) @ matrix)

    seen = tiny.normal(5, 3, T, D)
    found = way.answer(network, seen)
    for place in range(3):
        path = seen[place]
        for _ in range(H):
            said = network(chosen.inputs(path)[None])[0, -1]
            following = chosen.unit * said + chosen.anchors(path, jnp.array([1]))[-1, 0]
            path = jnp.concatenate([path, following[None]])
        np.testing.assert_allclose(found[place], path[T:])


def test_aligned_needs_as_many_steps_as_are_asked_for():
    spec = SPEC._replace(horizon=H + 1)
    with pytest.raises(ValueError, match="aligned' of 6 steps from 5"):
        decoding.aligned(spec, decoding.FRAMES["absolute"](H, 2))


def yardstick(name, frames=3):
    settings = override(
        preset("recommended", ways=2, shots=1), forecast={"velocity_frames": frames}
    )
    task = trajectories.forecast(observed=T, horizon=H, batch=2)
    return table.METHODS[name].make(settings, task, steps=1)


@tiny.float64
def test_constant_velocity_goes_on_with_the_mean_of_the_last_moves():
    method = yardstick("constant_velocity")
    path = tiny.normal(1, 2, T, D)
    found = method.predict(method.init(jax.random.key(0)), path).output
    speed = (path[:, 4] - path[:, 1]) / 3
    for ahead in range(1, H + 1):
        expected = path[:, 4] + ahead * speed
        np.testing.assert_allclose(found[:, ahead - 1], expected)
    line = (
        1.0 + jnp.stack([0.3 * jnp.arange(T + H), -0.2 * jnp.arange(T + H)], -1)[None]
    )
    batch = trajectories.parted(line, T)
    _, metrics = method.step(method.init(jax.random.key(0)), batch)
    np.testing.assert_allclose(metrics["loss"], 0, atol=1e-12)


@tiny.float64
def test_constant_position_stays():
    method = yardstick("constant_position")
    path = tiny.normal(1, 2, T + H, D)
    batch = trajectories.parted(path, T)
    state, metrics = method.step(method.init(jax.random.key(0)), batch)
    found = method.predict(state, batch.inputs).output
    np.testing.assert_array_equal(found, jnp.repeat(path[:, T - 1 : T], H, axis=1))
    error = np.mean((np.asarray(path[:, T:]) - np.asarray(path[:, T - 1 : T])) ** 2)
    np.testing.assert_allclose(metrics["squared_error"], error)


@tiny.float64
def test_the_recurrent_encoder_is_its_cell_step_by_step():
    encoder, cell = recurrent.make_lstm_encoder(4, D), leaves.make_lstm(4)
    params = tiny.drawn(1, lambda key: encoder.init(key)[0])
    inputs = tiny.normal(2, 3, T, D)
    run = functools.partial(encoder.apply, params, (), supports=T, phase="train")
    features, _ = run(inputs)
    carry = cell.carry()
    for step in range(T):
        carry, feature = cell.apply(params, carry, inputs[1, step])
        np.testing.assert_allclose(features[1, step], feature)
    with pytest.raises(ValueError, match=r"expected \[sequences, steps, 2\]"):
        run(inputs[..., :1])


def test_a_batch_holds_different_tracks_and_says_what_it_needs(key):
    task = trajectories.forecast(observed=2, horizon=1, batch=3)
    source = jnp.repeat(jnp.arange(4.0), 6).reshape(4, 3, 2)
    for step in range(5):
        batch = task.sample(key, jnp.asarray(step), source)
        assert len({float(each) for each in batch.inputs[:, 0, 0]}) == 3
        np.testing.assert_array_equal(batch.targets[:, 0], batch.inputs[:, 1])
    with pytest.raises(ValueError, match=r"expected \[tracks, 3, 2\] with at least 3"):
        task.sample(key, jnp.asarray(0), source[:2])
