"""The cards room: cards in readers, their PINs, their sessions, and test cards on software tokens."""
