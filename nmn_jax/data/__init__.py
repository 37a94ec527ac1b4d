"""Data sets as NumPy records, and the episode sampler that runs on the device.

Modules are imported one by one (``from nmn_jax.data import omniglot``), so that only
``episodes`` needs JAX and only the download command needs tensorflow-datasets.
"""
