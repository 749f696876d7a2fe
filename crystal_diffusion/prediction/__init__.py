"""What a crystal's properties are, said by networks, with intervals that hold."""
