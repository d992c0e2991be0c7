"""Taking everything out and putting it back."""
