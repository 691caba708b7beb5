"""Networks: from the text of a factory to a torch module, its classifier and its featurizer, and the device it runs on.

Knows modules and weights and nothing of tasks, training or repositories. Import the modules of this package by name;
all of them import torch.
"""
