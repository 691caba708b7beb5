"""Build the compiled loops of the codecs; where there is no C compiler, mlgit is installed without them."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "mlgit.storage.codecs._native",
            ["mlgit/storage/codecs/_native.c"],
            py_limited_api=True,
            optional=True,
            extra_compile_args=["-O3"],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
