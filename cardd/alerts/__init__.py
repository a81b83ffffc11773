"""What hurts, seen often enough to be worth telling, and told until it is over."""
