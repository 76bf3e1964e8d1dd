"""Pictures of the demo's report. Nothing of the service needs them."""
