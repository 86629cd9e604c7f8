"""What the pages of the book draw with; no chapter's module imports it."""
