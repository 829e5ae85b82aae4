"""The documentation site: the pages of docs/, and reference pages made of the tables that the library works by."""
