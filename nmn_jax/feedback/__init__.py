"""Every backward pass of the library, and what is done with its cotangents."""

from nmn_jax.feedback import bootstrap as bootstrap
from nmn_jax.feedback import carried as carried
from nmn_jax.feedback import controls as controls
from nmn_jax.feedback import fast as fast
from nmn_jax.feedback import future as future
from nmn_jax.feedback import inner_loop as inner_loop
from nmn_jax.feedback import lessons as lessons
from nmn_jax.feedback import pipeline as pipeline
from nmn_jax.feedback import plumbing as plumbing
from nmn_jax.feedback import predictors as predictors
from nmn_jax.feedback import sg as sg
from nmn_jax.feedback import sources as sources
from nmn_jax.feedback import state_predictors as state_predictors
from nmn_jax.feedback import targets as targets
from nmn_jax.feedback.plumbing import backprop as backprop
from nmn_jax.feedback.plumbing import combine as combine
from nmn_jax.feedback.plumbing import gradient as gradient
from nmn_jax.feedback.plumbing import pull as pull
from nmn_jax.feedback.plumbing import pull_params as pull_params
from nmn_jax.feedback.plumbing import stop as stop
