"""Products in bfloat16: what they may lose, and what they may not."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nmn_jax import nets
from nmn_jax.nets import convolution, windows

HALF = nets.encoder.FORMULATIONS["bfloat16"]
# Half the distance of neighbouring numbers of 8 bits: what rounding changes at most.
UNIT = 2.0**-8


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def both(formulation):
    """Results, and gradients for inputs and kernel, of one formulation."""

    @jax.jit
    def run(inputs, kernel, cotangents):
        values, pull = jax.vjp(formulation, inputs, kernel)
        return values, pull(cotangents)

    return run


def whole(seed, low, high, *shape):
    """Whole numbers from `low` to `high`."""
    drawn = jax.random.randint(jax.random.key(seed), shape, low, high + 1)
    return drawn.astype(jnp.float32)


@pytest.mark.parametrize("channels", (1, 3))
def test_whole_numbers_of_eight_bits_lose_nothing(channels):
    """Every factor is exact, so equality says that sums are those of float32.

    Sums of kernels' gradients are far above 256, from where bfloat16 skips numbers.
    """
    inputs = whole(0, 0, 2, 2, 20, 7, 10, channels)
    kernel = whole(1, -1, 1, 3, 3, channels, 5)
    shapes = jax.eval_shape(convolution.direct, inputs, kernel)
    cotangents = convolution.Pooled(
        *(whole(2 + i, 0, 2, *each.shape) for i, each in enumerate(shapes))
    )
    given = both(windows.windows)(inputs, kernel, cotangents)
    expected = both(nets.tiled.tiled)(inputs, kernel, cotangents)
    chex.assert_trees_all_equal(given, expected)
    assert jnp.abs(expected[1][1]).max() > 1000


@pytest.mark.parametrize("formulation", HALF)
def test_values_lose_what_rounding_of_both_factors_may(formulation):
    """|fl(x) fl(w) - x w| <= (2 u + u²) |x| |w|, term by term of every sum.

    The compiler's convolution rounds its sum once more.
    """
    inputs, kernel = normal(0, 2, 3, 7, 10, 4), normal(1, 3, 3, 4, 5)
    given = HALF[formulation](inputs, kernel)
    exact = convolution.direct(inputs, kernel)
    most = convolution.direct(jnp.abs(inputs), jnp.abs(kernel))
    share = 2 * UNIT + UNIT**2
    if formulation == "direct":
        share += UNIT * (1 + share)
    slack = 1e-5 * most.squares.max()
    bounds = (
        share * most.maximum, share * most.total, (2 * share + share**2) * most.squares
    )  # fmt: skip
    for one, other, bound in zip(given, exact, bounds, strict=True):
        assert one.dtype == jnp.float32
        error = jnp.abs(one - other)
        assert (error <= bound + slack).all()
        # Much cancels in long sums; products in float32 would be far closer.
        assert error.max() > 1e-3 * bound.max()


@pytest.mark.parametrize("formulation", HALF)
def test_gradients_lose_what_rounding_of_both_factors_may(formulation):
    """Of Σ y, whose cotangents no maximum and no value of y decides."""
    inputs, kernel = normal(0, 2, 3, 7, 10, 4), normal(1, 3, 3, 4, 5)
    weights = normal(2, 2, 3, 5)

    def run(formulation, inputs, kernel, weights):
        _, pull = jax.vjp(lambda *a: formulation(*a).total, inputs, kernel)
        return pull(weights)

    given = run(HALF[formulation], inputs, kernel, weights)
    exact = run(convolution.direct, inputs, kernel, weights)
    most = run(convolution.direct, *map(jnp.abs, (inputs, kernel, weights)))
    share = 3 * UNIT + 3 * UNIT**2  # two factors, and where it is rounded the result
    for one, other, bound in zip(given, exact, most, strict=True):
        assert one.dtype == jnp.float32
        assert (jnp.abs(one - other) <= share * bound + 1e-5).all()
        assert jnp.abs(one - other).max() > 1e-4


def test_what_moves_bits_has_the_gradient_of_what_moves_numbers():
    """A bitcast has none: without a rule of its own it would be zero, and silent."""
    values = whole(0, -9, 9, 2, 3, 4, 4, 2).astype(jnp.bfloat16)
    weights = whole(1, -2, 2, 2 * 3 * 4, 16 * 2).astype(jnp.bfloat16)

    def score(values, move):
        return (move(windows.around, values) * weights).sum()

    given = jax.grad(score)(values, windows.moved)
    expected = jax.grad(score)(values, lambda function, values: function(values))
    np.testing.assert_array_equal(given, expected)
    assert jnp.abs(expected).max() > 0


def test_a_product_with_the_identity_is_a_transpose():
    values = normal(0, 2, 3, 4, 4, 2).astype(jnp.bfloat16)
    np.testing.assert_array_equal(windows.turned(values), values.reshape(-1, 8).T)


@pytest.mark.parametrize("formulation", HALF)
def test_an_encoder_keeps_its_precision_around_the_products(formulation):
    encoder = nets.make_conv_encoder(
        channels=32, layers=2, image_shape=(14, 14), norm="running",
        precision="bfloat16", formulation=HALF[formulation],
    )  # fmt: skip
    exact = nets.make_conv_encoder(
        channels=32, layers=2, image_shape=(14, 14), norm="running"
    )
    params, stats = encoder.init(jax.random.key(0))
    images = jnp.maximum(normal(1, 8, 4, 14, 14), 0)
    weights = normal(2, 8, 4, encoder.width)

    def run(encoder, params, images):
        def loss(params):
            features, after = encoder.apply(
                params, stats, images, supports=2, phase="train"
            )
            return (features * weights).sum(), (features, after)

        return jax.value_and_grad(loss, has_aux=True)(params)

    step = jax.jit(run, static_argnums=0)
    (_, (features, after)), grads = step(encoder, params, images)
    (_, (close, _)), close_grads = step(exact, params, images)
    for leaf in jax.tree.leaves((features, after, grads)):
        assert leaf.dtype == jnp.float32

    def far(one, other):
        one, other = (
            jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])
            for tree in (one, other)
        )
        return float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))

    assert 1e-4 < far(features, close) < 4 * UNIT
    # Where a window's largest value changes its place, so does all of its cotangent.
    assert 1e-4 < far(grads, close_grads) < 0.2

    mesh = Mesh(np.array(jax.devices()), ("episode",))
    spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("episode")))
    (_, (there, _)), there_grads = step(encoder, params, spread)
    assert far(there, features) < UNIT and far(there_grads, grads) < 0.1
    found = encoder.apply(params, stats, images[:1, :1], supports=1, phase="test")[0]
    assert jnp.isfinite(found).all()


def test_the_fastest_formulation_is_chosen_by_backend_and_size(monkeypatch):
    chosen = nets.encoder.default_formulation
    assert chosen(32) is nets.tiled.tiled
    assert chosen(32, "bfloat16") is windows.windows
    assert chosen(8, "bfloat16") is HALF["direct"]
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert chosen(32, "bfloat16") is HALF["direct"]
    assert chosen(32) is convolution.direct
