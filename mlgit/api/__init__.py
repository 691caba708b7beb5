"""The Python library: a repository whose methods are the verbs of the command line.

::

    from mlgit import Repository, clone

    repo = Repository.init("soup")
    repo.import_model("mlgit:digits-cnn")
    repo.add_task("digit", kind="digits", test_domain="rotate")
    repo.train("digit")
    repo.commit(task="digit", message="fine-tune on digit")
    weights = repo.load("main")
"""

from mlgit.api.repository import Repository, clone

__all__ = ["Repository", "clone"]
