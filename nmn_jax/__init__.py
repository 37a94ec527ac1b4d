"""Neural memory networks that learn at two speeds.

Pure functions on one example; `jax.vmap` over episodes. See README.md for a tour.
"""

__version__ = "0.1.0"
