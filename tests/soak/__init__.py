"""Soak: load, and faults at random, for as long as you like. `make soak MINUTES=30`"""
