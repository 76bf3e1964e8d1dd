"""Scripts that run in environments of their own, which hold the peer and not frameloop."""
