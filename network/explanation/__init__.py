"""Looks inside a trained network: heatmaps, pooled pixels, class embeddings, errors at borders."""
