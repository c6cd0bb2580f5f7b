"""Model: checkpoints to bi-encoders and cross-encoders, and back.

In: a folder or Hub name. Does: spec, weights, tokenizer, engine. Out: `embeddings_BE` or `scores_B`; checkpoint folders.
"""
