"""Backups of the whole state, encrypted to their recipients, and the way back from one."""
