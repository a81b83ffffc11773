"""Who may call, from where, with what: every request passes here first."""
