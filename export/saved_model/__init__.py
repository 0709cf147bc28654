"""What stands inside an exported model: signatures of bytes and words."""
