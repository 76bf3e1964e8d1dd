"""Ways to emit events: URL lists and game sessions."""
