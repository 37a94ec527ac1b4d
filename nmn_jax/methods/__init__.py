"""Methods: who answers. A method is one file here and one line in `table`."""

from nmn_jax.methods import base as base
from nmn_jax.methods import cnn as cnn
from nmn_jax.methods import end_to_end as end_to_end
from nmn_jax.methods import lstm_stream as lstm_stream
from nmn_jax.methods import maml as maml
from nmn_jax.methods import maml_plus as maml_plus
from nmn_jax.methods import mann as mann
from nmn_jax.methods import matching as matching
from nmn_jax.methods import metanet as metanet
from nmn_jax.methods import nmn as nmn
from nmn_jax.methods import nmn_stream as nmn_stream
from nmn_jax.methods import prototype as prototype
from nmn_jax.methods import replay as replay
from nmn_jax.methods import reptile as reptile
from nmn_jax.methods import snail as snail
from nmn_jax.methods import streams as streams
from nmn_jax.methods import table as table
from nmn_jax.methods.base import Answer as Answer
from nmn_jax.methods.base import Entry as Entry
from nmn_jax.methods.base import Method as Method
