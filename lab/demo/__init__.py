"""The product at work in a lab, with every claim checked: ``python -m lab demo``."""
