"""The machines that share a database: which they are, and how those with the CA keys sign for the others."""
