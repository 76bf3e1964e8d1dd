"""The `frameloop` command."""
