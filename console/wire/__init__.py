"""What the bytes of a captured message are, part by part, and what they mean. Pure."""
