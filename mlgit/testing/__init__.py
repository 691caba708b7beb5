"""Contracts that parts of mlgit, and plug-ins of other packages, have to pass.

Each module holds one class of tests: subclass it in a test file, name the subclass ``Test...`` and return the object
under test. pytest is needed to run them. Nothing in mlgit itself imports this package.
"""
