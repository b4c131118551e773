"""What a training minimises beside the rate."""
