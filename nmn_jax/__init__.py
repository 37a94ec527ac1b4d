"""Neural memory networks that learn at two speeds.

Pure functions on one example; `jax.vmap` over episodes. See README.md for a tour. Every
room is imported here but `data` and `run`, which whoever trains imports by themselves.
"""

from nmn_jax import cell as cell
from nmn_jax import controllers as controllers
from nmn_jax import diagnostics as diagnostics
from nmn_jax import feedback as feedback
from nmn_jax import losses as losses
from nmn_jax import memory as memory
from nmn_jax import methods as methods
from nmn_jax import model as model
from nmn_jax import nets as nets
from nmn_jax import settings as settings
from nmn_jax import tasks as tasks
from nmn_jax import types as types
from nmn_jax import unrolling as unrolling

__version__ = "0.1.0"
