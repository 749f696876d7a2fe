"""The local web page: ask, train, screen and look, for those who would rather click."""
