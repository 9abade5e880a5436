"""Chat templates, tokenising, and truncation, as TRL's trainers do them."""
