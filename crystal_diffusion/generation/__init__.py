"""From a request to checked crystals: request, plan, sampling, checks, order."""
