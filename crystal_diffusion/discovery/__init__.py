"""Discovery: propose, order, relax, judge, learn, again, until a budget is spent."""
