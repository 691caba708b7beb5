"""Build the compiled loops; where there is no C compiler, mlgit is installed without them."""

from setuptools import Extension, setup


def loops(name: str) -> Extension:
    """Return a module of loops; products and sums are not fused, so that results are the same on every processor."""
    return Extension(
        name,
        [f"{name.replace('.', '/')}.c"],
        py_limited_api=True,
        optional=True,
        extra_compile_args=["-O3", "-ffp-contract=off"],
    )


setup(
    ext_modules=[loops("mlgit.storage.codecs._native"), loops("mlgit.weights._sums")],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
