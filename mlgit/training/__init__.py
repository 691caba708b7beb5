"""A network and a task's training domains in, weights and the record of the run out.

The protocol is that of "Model Ratatouille" (Ramé et al., ICML 2023): one batch per domain, Adam with a constant rate,
frozen batch-norm statistics, the best checkpoint by ID validation. Training knows neither repositories nor merging nor
certification, and is never handed a test domain. The names live in the modules: ``hyper``, ``draws``, ``run``,
``probe``, ``statistics``, ``result``, ``record``. Only ``hyper`` can be imported without torch.
"""
