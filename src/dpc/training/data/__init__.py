"""What a training sees: photographs, and synthetic pictures."""
