"""Ray Serve deployments: scorers behind one contract."""
