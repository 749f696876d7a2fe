"""What a crystal must satisfy: checks, their limits, facts and corrections."""
