"""Fits the weights of the matcher on workspaces that it invents: `python -m services.scorer.fitting`."""
