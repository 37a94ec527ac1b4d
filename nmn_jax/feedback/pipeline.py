"""Both speeds of learning for one batch, composed by hand (Fig. 3, Eqs. 10, 11).

Encode; one vjp of the loss for gradients and true cotangents; regress the predictors on
these; pull what the rule wants back into the controllers; every parameter gets the
gradient of the path that is to move it. Episodes and windows of a stream go this way
alike: a `Pass` says what is particular about a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from nmn_jax.feedback import plumbing, targets
from nmn_jax.feedback.controls import CONTROLS, Control
from nmn_jax.feedback.sg import SG, SGParams
from nmn_jax.model import ModelParams
from nmn_jax.types import PerController, TrainState


class Guidance(NamedTuple):
    """What the fast path listens to: a control, and the true cotangents if that control
    looked them up (in the units of predictions, for the steps that adapt)."""

    control: Control
    truth: Any


class Layout(NamedTuple):
    """How probes are laid out, and whose loss their cotangents belong to.

    concat: probes -> PerController `[..., T, K]` with all steps on one axis
    split: its inverse
    count: like the probes, by how much a cotangent of the mean loss of the batch is
      multiplied to be that of one episode's (or, at a query, of one query's) loss
    adapting: probes -> those of the steps at which the fast path adapts
    """

    concat: Callable[[Any], PerController]
    split: Callable[[PerController], Any]
    count: Any
    adapting: Callable[[Any], PerController]


class Pass(NamedTuple):
    """One batch on its way through a model.

    encode: `(encoder params) -> (features, stats)`
    forward: `(Guidance, (ModelParams, SGParams), features, probes) -> (loss [], run)`;
      `run` is anything
    probes: zeros like the controller outputs
    layout: how they are laid out
    outputs: `(run) -> ` recorded controller outputs, like the probes
    predict: `(predictors, outputs) -> PerController [..., T, K]`, ĝ in normalised units
    replay: `(run, controllers) -> ` outputs of the controllers alone, like the probes
    targets: `[B, T, C]` of all steps
    true: `(features, Backprop) -> ` what predictors regress on, like the probes
    whole: whether the cotangents of the probes are all that reaches the controllers, so
      that a replay fed with them gives what back-propagation gives; not so where
      something arrives at the recurrent state they end in
    """

    encode: Callable[[Any], tuple[Any, Any]]
    forward: Callable[..., tuple[jax.Array, Any]]
    probes: Any
    layout: Layout
    outputs: Callable[[Any], Any]
    predict: Callable[[PerController, Any], PerController]
    replay: Callable[[Any, PerController], Any]
    targets: jax.Array
    true: Callable[[Any, plumbing.Backprop], Any] = lambda features, back: (
        back.cotangents
    )
    whole: bool = False


@runtime_checkable
class Learning(Protocol):
    """What the pipeline reads of a method's state."""

    @property
    def network(self) -> TrainState:
        """Parameters of the model, `ModelParams`."""

    @property
    def sg(self) -> TrainState:
        """Parameters of the second feedback path, `SGParams`."""

    @property
    def scale(self) -> targets.Scale:
        """Running scale of the true cotangents."""

    @property
    def step(self) -> jax.Array:
        """Steps taken."""


class Gradients(NamedTuple):
    """The gradients of one step, and what they were made from."""

    network: ModelParams
    sg: SGParams
    stats: Any
    back: plumbing.Backprop
    regression: targets.Regression


def two_speeds(sg: SG, state: Learning, way: Pass) -> Gradients:
    """Slow and fast gradients of one batch."""
    features, pull_encoder, stats = plumbing.pull_back(
        way.encode, state.network.params.encoder
    )
    guidance = guide(sg, state, way, lambda: features)
    back = plumbing.backprop(
        functools.partial(way.forward, guidance), _params(state), features, way.probes
    )
    regression = _regress(sg, state, way, (features, back))
    controllers = _inject(sg, state, way, (back, regression))
    network, sg_params = back.params
    cell = network.cell._replace(controllers=controllers)
    network = ModelParams(pull_encoder(back.features), cell, network.decoder)
    learned = predictor_gradient(sg, sg_params, regression)
    return Gradients(
        network, sg_params._replace(predictors=learned), stats, back, regression
    )


def guide(sg: SG, state: Learning, way: Pass, features: Callable[[], Any]) -> Guidance:
    """The control of the fast path, with the truth if it looks that up.

    The truth is the cotangent of the batch's loss at every adapting step while nothing
    adapts, divided by the predictors' units.

    Gradients: the truth is a constant.
    """
    if sg.fast is None:
        return Guidance(sg.control, None)

    def find() -> PerController:
        silent = functools.partial(way.forward, Guidance(CONTROLS["zeroed"], None))
        found = plumbing.backprop(silent, _params(state), features(), way.probes)
        true = way.layout.adapting(_per_example(way, found.cotangents))
        units = sg.scale(state.scale)
        return plumbing.stop(jax.tree.map(jnp.divide, true, units))

    return Guidance(sg.control, sg.control.look(find))


def _params(state: Learning) -> tuple[ModelParams, SGParams]:
    return state.network.params, state.sg.params


def _per_example(way: Pass, cotangents: Any) -> Any:
    return jax.tree.map(jnp.multiply, cotangents, way.layout.count)


def _regress(
    sg: SG, state: Learning, way: Pass, found: tuple[Any, plumbing.Backprop]
) -> targets.Regression:
    """Predictors against the true cotangents of one example's loss (Eq. 11)."""
    features, back = found
    true = way.layout.concat(_per_example(way, way.true(features, back)))
    outputs = plumbing.stop(way.outputs(back.aux))
    return targets.regress(
        lambda predictors: way.predict(predictors, outputs),
        state.sg.params.predictors,
        true,
        scale=state.scale,
        unit=sg.scale,
    )


def _inject(
    sg: SG,
    state: Learning,
    way: Pass,
    found: tuple[plumbing.Backprop, targets.Regression],
) -> PerController:
    """Fast feedback into the slow weights: controller gradients by the chosen rule, the
    true ones alone during warm-up.

    Rules are linear: where nothing adapts on the way and a replay gives the whole
    gradient, true and injected cotangents are joined before they are pulled back, both
    at once, and the sums over steps that back-propagation makes for the true ones are
    left out.
    """
    back, regression = found
    true = back.params[0].cell.controllers
    if sg.rule == "backprop":
        return true
    injected = sg.control.cotangents(regression.predicted, regression.true, way.targets)
    cotangents = jax.tree.map(jnp.divide, way.layout.split(injected), way.layout.count)
    if way.whole and sg.fast is None:
        cotangents = _joined(sg, state, back.cotangents, cotangents)
        return _pulled(state, way, back, cotangents)
    return _joined(sg, state, true, _pulled(state, way, back, cotangents))


def _joined(sg: SG, state: Learning, true: Any, synthetic: Any) -> Any:
    """Both by the rule, or the true alone during warm-up."""
    joined = plumbing.combine(true, synthetic, rule=sg.rule, weight=sg.weight)
    warm = state.step >= sg.warmup
    return jax.tree.map(lambda j, t: jnp.where(warm, j, t), joined, true)


def _pulled(
    state: Learning, way: Pass, back: plumbing.Backprop, cotangents: Any
) -> PerController:
    # One pull-back of the whole batch: pulled back episode by episode, every step
    # would add to one gradient per episode, which costs more than the rest.
    return plumbing.pull(
        functools.partial(way.replay, back.aux),
        state.network.params.cell.controllers,
        cotangents,
    )


def predictor_gradient(
    sg: SG, sg_params: SGParams, regression: targets.Regression
) -> PerController:
    """From regression, from the query loss through the fast path, or from both."""
    if sg.train == "regress" or sg.fast is None:
        return regression.gradient
    if sg.train == "meta":
        return sg_params.predictors
    return jax.tree.map(jnp.add, sg_params.predictors, regression.gradient)
