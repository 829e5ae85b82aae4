"""Mutation testing: whether the tests notice when the library is changed."""
