"""Revocation data for applications: lists fetched, verified, indexed and answered from, never stale unsaid."""
