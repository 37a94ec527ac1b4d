"""A batch of sequences on its way through a neural memory network, and its pass.

Sequences are taken one after the other. Each is answered by the controllers as the
sequences before it left them; only then, when its targets are known, does the fast path
learn from it. So no target reaches the answer it is the target of.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import bootstrap, plumbing, predictors
from nmn_jax.feedback import fast as fast_lib
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.feedback.pipeline import Layout, Pass
from nmn_jax.feedback.sources import Cue
from nmn_jax.model import Model, ModelParams
from nmn_jax.tasks.base import ForecastBatch, Loss
from nmn_jax.tasks.decoding import Decoding, Laid
from nmn_jax.types import Inputs, NMNState, PerController, Trace


class ForecastDesign(NamedTuple):
    """What a neural memory network that forecasts is made of.

    carry: what survives the end of a sequence, see `bootstrap.CARRIES`: with `episode`
      every sequence has a memory of its own, with `memory` all have one
    """

    model: Model
    sg: sg_lib.SG
    loss: Loss
    decoding: Decoding
    carry: str


class Ran(NamedTuple):
    """A batch: answers `[B, S, C]`, the trace, the carries every sequence began with,
    the state the last one ended in, and by how much the fast weights differ from the
    slow ones there (None without a fast path)."""

    outputs: jax.Array
    trace: Trace
    final: NMNState
    fast: Any


def lay(design: ForecastDesign, batch: ForecastBatch) -> Laid:
    """Every sequence as the network learns from it, `[B, ...]`."""
    return jax.vmap(design.decoding.lay)(batch.inputs, batch.targets)


def make_pass(design: ForecastDesign, state: Any, laid: Laid) -> Pass:
    """What the pipeline has to know of a batch of laid sequences.

    Cotangents are those of one sequence's summed loss, however many there are.
    """
    count, steps = laid.targets.shape[:2]
    factor = PerController(*([float(count * steps)] * 3))
    one = cell_lib.zero_probes(design.model.cell, steps, laid.targets.dtype)
    probes = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one
    )
    return Pass(
        functools.partial(encode, design, state, laid.inputs),
        functools.partial(_forward, design, state, laid),
        probes,
        Layout(plumbing.through, plumbing.through, factor, plumbing.through),
        lambda ran: ran.trace.outputs,
        functools.partial(_predict, design, laid),
        functools.partial(_replay, design),
        laid.targets,
    )


def encode(
    design: ForecastDesign, state: Any, inputs: jax.Array, encoder: Any
) -> tuple[jax.Array, Any]:
    """Features `[B, S, W]` of the steps of sequences, and the statistics."""
    return design.model.encoder.apply(
        encoder, state.stats, inputs, supports=inputs.shape[1], phase="train"
    )


def begin(design: ForecastDesign, params: ModelParams, reached: NMNState) -> NMNState:
    """The state a sequence starts from, after another one that reached this state."""
    fresh = design.model.cell.initial_state(params.cell)
    return bootstrap.CARRIES[design.carry](fresh, reached)


def unknown(design: ForecastDesign, features: jax.Array) -> Inputs:
    """Inputs `[S, ...]` of the memory: targets lie in the future and never enter."""
    blank = jnp.zeros((len(features), design.model.targets), features.dtype)
    return Inputs(features, blank, blank)


def answer(
    design: ForecastDesign, state: Any, inputs: jax.Array
) -> tuple[jax.Array, Trace]:
    """Answers `[N, S, C]` to inputs `[N, S, D]`, each asked of the state as it is.

    The controllers that answer hold what was learned fast.
    """
    params = state.network.params
    features, _ = encode(design, state, inputs, params.encoder)
    whole = _merged(design, params, state.fast)
    start = begin(design, params, state.carried)

    def one(features: jax.Array) -> tuple[jax.Array, Trace]:
        _, trace = cell_lib.unroll(
            design.model.cell, whole.cell, start, unknown(design, features)
        )
        return model_lib.decode(design.model, whole, trace), trace

    return jax.vmap(one)(features)


def _merged(design: ForecastDesign, params: ModelParams, learned: Any) -> ModelParams:
    """The parameters with what was learned fast."""
    path, slow = design.sg.fast, params.cell.controllers
    if path is None:
        return params
    merged = fast_lib.merge(slow, fast_lib.apply_delta(path, slow, learned))
    return params._replace(cell=params.cell._replace(controllers=merged))


def _forward(
    design: ForecastDesign, state: Any, laid: Laid, *given: Any
) -> tuple[jax.Array, Ran]:
    """Mean loss of the batch, for `(guidance, params, features, probes)`."""
    ran = _run(design, state, laid, given)
    each = jax.vmap(jax.vmap(functools.partial(_loss, design)))(
        ran.outputs, laid.targets
    )
    return jnp.mean(jnp.sum(laid.weights * each, axis=1)), ran


def _loss(design: ForecastDesign, output: jax.Array, target: jax.Array) -> jax.Array:
    """Of one answer, in the units of the task."""
    unit = design.decoding.unit
    return design.loss(unit * output, unit * target)


def _run(design: ForecastDesign, state: Any, laid: Laid, given: tuple) -> Ran:
    """All sequences of a batch, from the carried state."""
    guidance, (network, sg_params), features, probes = given
    learn = _make_learn(design, state, (guidance, network, sg_params))
    cues = Cue(guidance.control.targets(laid.targets), guidance.truth)

    def one(carried: tuple, given: tuple) -> tuple:
        reached, learned = carried
        features, cue, probes = given
        inputs = unknown(design, features)
        start = begin(design, network, reached)
        whole = _merged(design, network, learned)
        final, trace = cell_lib.unroll(
            design.model.cell, whole.cell, start, inputs, probes=probes
        )
        outputs = model_lib.decode(design.model, whole, trace)
        after = final, learn(learned, start, inputs, cue)
        return after, (outputs, trace)

    first = plumbing.stop(state.carried), begun(design, state)
    if design.carry == "episode" and design.sg.fast is None:
        # Nothing is passed on: all at once.
        ends, found = jax.vmap(functools.partial(one, first))((features, cues, probes))
        last = jax.tree.map(lambda leaf: leaf[-1], ends)
    else:
        last, found = jax.lax.scan(one, first, (features, cues, probes))
    outputs, trace = found
    final, learned = last
    return Ran(outputs, trace, final, learned)


def begun(design: ForecastDesign, state: Any) -> Any:
    """What a batch starts with of what was learned fast in the last one."""
    path = design.sg.fast
    if path is None:
        return state.fast
    return plumbing.stop(jax.tree.map(lambda each: path.keep * each, state.fast))


def _make_learn(design: ForecastDesign, state: Any, who: tuple) -> Any:
    """`(learned, start, inputs, cue) -> learned`: fast steps along one sequence."""
    guidance, network, sg_params = who
    if design.sg.fast is None:
        return lambda learned, start, inputs, cue: learned

    def loss(output: jax.Array, target: jax.Array) -> jax.Array:
        answered = design.model.decoder.apply(network.decoder, output)
        return _loss(design, answered, target)

    adaptation = sg_lib.make_adaptation(
        design.sg, design.model.cell, sg_params, control=guidance.control,
        oracle=sg_lib.StepOracle(loss, design.sg.scale(state.scale)),
    )  # fmt: skip

    def learn(learned: Any, start: NMNState, inputs: Inputs, cue: Cue) -> Any:
        begun = start, learned
        return fast_lib.resume(adaptation, network.cell, begun, inputs, cue=cue)[1]

    return learn


def _predict(
    design: ForecastDesign, laid: Laid, learned: PerController, outputs: PerController
) -> PerController:
    """ĝ `[B, S, K]` in normalised units at every recorded controller output."""
    predictor = design.sg.predictor
    return predictors.predict_each(predictor, learned, outputs, laid.targets)


def _replay(
    design: ForecastDesign, ran: Ran, controllers: PerController
) -> PerController:
    """Outputs of the controllers alone, on what the batch gave them."""
    return cell_lib.replay(design.model.cell, controllers, ran.trace)[1]
