"""Tasks: what is asked, and how an answer is judged."""

from nmn_jax.tasks import base as base
from nmn_jax.tasks import copying as copying
from nmn_jax.tasks import decoding as decoding
from nmn_jax.tasks import episodes as episodes
from nmn_jax.tasks import mixture as mixture
from nmn_jax.tasks import recall as recall
from nmn_jax.tasks import streams as streams
from nmn_jax.tasks import trajectories as trajectories
from nmn_jax.tasks.base import Batch as Batch
from nmn_jax.tasks.base import Context as Context
from nmn_jax.tasks.base import ForecastBatch as ForecastBatch
from nmn_jax.tasks.base import Spec as Spec
from nmn_jax.tasks.base import StreamBatch as StreamBatch
from nmn_jax.tasks.base import Task as Task
