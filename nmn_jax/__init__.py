"""Neural memory networks that learn at two speeds.

Pure functions on one example; `jax.vmap` over episodes. See README.md for a tour.
"""

from nmn_jax import adaptation as adaptation
from nmn_jax import builders as builders
from nmn_jax import cell as cell
from nmn_jax import controllers as controllers
from nmn_jax import diagnostics as diagnostics
from nmn_jax import fast as fast
from nmn_jax import feedback as feedback
from nmn_jax import gradients as gradients
from nmn_jax import learner as learner
from nmn_jax import losses as losses
from nmn_jax import memory as memory
from nmn_jax import model as model
from nmn_jax import networks as networks
from nmn_jax import presets as presets
from nmn_jax import replay as replay
from nmn_jax import settings as settings
from nmn_jax import signals as signals
from nmn_jax import stream as stream
from nmn_jax import synthetic as synthetic
from nmn_jax import types as types
from nmn_jax import window as window

__version__ = "0.1.0"
