"""The outside world behind small interfaces: Kafka, Lance, HTTP, Ray Serve, LLaMA-Factory."""
