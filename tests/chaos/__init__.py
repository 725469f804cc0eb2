"""Real servers, several processes, and everything that can go wrong: what must hold all the same."""
