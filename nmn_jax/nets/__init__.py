"""Networks below the memory: leaf layers (the only Flax) and encoders."""

from nmn_jax.nets import bilinear as bilinear
from nmn_jax.nets import convolution as convolution
from nmn_jax.nets import encoder as encoder
from nmn_jax.nets import kernels as kernels
from nmn_jax.nets import leaves as leaves
from nmn_jax.nets import lstm as lstm
from nmn_jax.nets import per_task as per_task
from nmn_jax.nets import pixels as pixels
from nmn_jax.nets import recurrent as recurrent
from nmn_jax.nets import task_maps as task_maps
from nmn_jax.nets import tiled as tiled
from nmn_jax.nets import windows as windows
from nmn_jax.nets import winograd as winograd
from nmn_jax.nets.encoder import Encoder as Encoder
from nmn_jax.nets.encoder import make_conv_encoder as make_conv_encoder
from nmn_jax.nets.encoder import make_dense_encoder as make_dense_encoder
from nmn_jax.nets.leaves import Recurrent as Recurrent
from nmn_jax.nets.leaves import make_dense as make_dense
from nmn_jax.nets.leaves import make_lstm as make_lstm
