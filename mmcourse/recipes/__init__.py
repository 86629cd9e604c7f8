"""One file a shipped model: how it is trained."""
