"""Encode: token batches to token states, from one description of the architecture and two engines.

In: `TokenBatch`. Does: the forward pass of `architecture.py`, executed by torch or as an OpenVINO graph.
Out: embeddings_BE or logits_BN.
"""
