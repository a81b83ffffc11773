"""Benchmarks: each case beside its floor, in one run."""
