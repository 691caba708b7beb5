"""The version of mlgit, below everything else so that every record can name it."""

__version__ = "0.1.0"
