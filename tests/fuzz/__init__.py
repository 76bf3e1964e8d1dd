"""Fuzz targets: what hostile senders control, and what must hold whatever they send."""
