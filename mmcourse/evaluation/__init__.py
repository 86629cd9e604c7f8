"""How good is it, and how sure can we be? Captions, facts, and the statistics of both."""
