"""What services that start something in the user's session have in common: applications, openers, terminals."""
