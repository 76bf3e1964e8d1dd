"""What every process of the service shares; also the `frameloop` command."""

__version__ = "0.1.0"
