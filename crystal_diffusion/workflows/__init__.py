"""One file for each verb that writes to the disk."""
