"""What lives in the training process; it imports nothing of the rest of trackkit."""
