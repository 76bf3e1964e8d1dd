"""Ray actors: ingest, table keeper, scoring and retraining. Thin shells around `frameloop.core`."""
