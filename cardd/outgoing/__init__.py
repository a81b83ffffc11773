"""Events sent to other programs and people: from the outbox, tried again until they are taken, never in half."""
