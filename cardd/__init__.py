"""cardd: test cards and test certificates of a health PKI on one machine."""

__version__ = "0.1.0"
