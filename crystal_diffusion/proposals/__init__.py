"""Where a candidate starts: structure types with the wanted elements on their sites."""
