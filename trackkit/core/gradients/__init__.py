"""Watching a model: statistics of its gradients, parameters and activations, at almost no cost to the training."""
