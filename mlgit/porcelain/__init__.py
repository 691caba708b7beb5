"""One file per verb: typed arguments in, a frozen result out. Nothing here prints, parses or reads the environment."""
