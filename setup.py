"""Packaging of `nmn_jax`; `experiments/` and `benchmarks/` run from the checkout."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent


def requirements() -> list[str]:
    """The lines of requirements.txt without comments."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [kept for line in lines if (kept := line.split("#")[0].strip())]


plots = ["matplotlib>=3.8"]
export = ["flatbuffers>=24.3"]
digits = ["scikit-learn>=1.5"]

setup(
    name="nmn_jax",
    version="0.1.0",
    description="Neural memory networks that learn at two speeds, in JAX",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["nmn_jax", "nmn_jax.*"]),
    package_data={"nmn_jax": ["py.typed", "**/*.json", "**/*.txt", "**/*.tsv"]},
    install_requires=requirements(),
    extras_require={
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "plots": plots,
        "export": export,
        "digits": digits,
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.7",
            "beartype>=0.18",
            "ruff>=0.8",
            "mypy>=1.11",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "ipykernel>=6.29",
            *plots,
            *export,
            *digits,
        ],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
